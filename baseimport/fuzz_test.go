package baseimport

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
)

// controlBytes is a pg_control of a version whose server was shut down.
func controlBytes(version uint32) []byte {
	b := make([]byte, 8192)
	u32, u64 := binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint64
	u64(b[0:], 77) // system identifier
	u32(b[8:], version)
	u32(b[16:], uint32(pgdata.ShutDown))
	u64(b[32:], 0x2000028) // the checkpoint, where redo begins, its timeline
	u64(b[40:], 0x2000028)
	u32(b[48:], 1)
	u32(b[216:], wal.BlockSize)
	u32(b[220:], relSegBlocks)
	u32(b[224:], wal.BlockSize)
	u32(b[228:], uint32(wal.DefaultSegmentSize))
	end := 288
	if version >= 1800 {
		end = 292
	}
	u32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

const labelText = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nSTART TIMELINE: 1\n"

// archive is a tar file of a small data directory.
func archive(tb testing.TB, label bool) []byte {
	tb.Helper()
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	add := func(name string, content []byte) {
		require.NoError(tb, t.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o600, Typeflag: tar.TypeReg}))
		_, err := t.Write(content)
		require.NoError(tb, err)
	}
	blocks := bytes.Repeat([]byte{7}, 2*page.Size)
	add("base/5/1259", blocks)
	add("base/5/1259_vm", blocks[:page.Size+100])
	add("base/5/pg_filenode.map", blocks[:512])
	add("pg_xact/0000", blocks[:page.Size])
	add("tablespace_map", []byte("16400 /srv/a\\\\b\n"))
	state := append([]byte("state"), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(state[5:], crc32.Checksum(state[:5], castagnoli))
	add("pg_twophase/00000007", state)
	if label {
		add("backup_label", []byte(labelText))
	}
	add("global/pg_control", controlBytes(1300))
	require.NoError(tb, t.Close())
	return b.Bytes()
}

// A stream of bytes in place of an import's messages, each behind its length in
// 16 bits, is loaded or refused.
func FuzzImport(f *testing.F) {
	frame := func(messages ...[]byte) (all []byte) {
		for _, m := range messages {
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(m))), m...)
		}
		return all
	}
	data := func(content []byte) (messages [][]byte) {
		for part := range chunks(content, 5000) {
			messages = append(messages, append([]byte{messageData}, part...))
		}
		return messages
	}
	whole := func(label bool) []byte {
		messages := append([][]byte{AppendArchive(nil, 0, "")}, data(archive(f, label))...)
		return frame(append(messages, AppendEnd(nil, End{Stop: 0x2000100, TLI: 1}))...)
	}
	f.Add(whole(true))
	f.Add(whole(false))
	f.Add(whole(true)[:9000])
	f.Add(frame(AppendArchive(nil, 16400, "/srv/a"), AppendEnd(nil, End{})))
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 1<<20 {
			return
		}
		base, err := loadStream(t, stream)
		if err == nil {
			require.NotZero(t, base.Start)
			require.NotZero(t, base.TLI)
		}
	})
}

func chunks(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

func loadStream(t *testing.T, stream []byte) (Base, error) {
	store, err := pagestore.Open("pages", pagestore.Options{FS: vfs.NewMem()})
	require.NoError(t, err)
	defer store.Close() //nolint:errcheck // It is in memory.
	tl, err := store.Create(wal.TimelineID{1}, 1)
	require.NoError(t, err)
	ctx := context.Background()
	r := NewReceiver(func() ([]byte, error) {
		if len(stream) < 2 {
			return nil, io.EOF
		}
		n := min(int(binary.BigEndian.Uint16(stream)), len(stream)-2)
		m := stream[2 : 2+n]
		stream = stream[2+n:]
		return m, nil
	})
	l := NewLoader(tl)
	for {
		oid, location, end, err := r.Next()
		if err != nil {
			return Base{}, err
		}
		if end != nil {
			return l.Finish(ctx)
		}
		if location != "" {
			if err := l.Tablespace(ctx, oid, location); err != nil {
				return Base{}, err
			}
		}
		if err := l.Archive(ctx, oid, r); err != nil {
			return Base{}, err
		}
	}
}

// What one reads of a data directory is read, or refused.
func FuzzFiles(f *testing.F) {
	f.Add(controlBytes(1300), "base/5/16384_vm.3")
	f.Add(controlBytes(1800), "PG_18_202506291/5/16384")
	f.Add([]byte("{}"), "pg_multixact/offsets/0001")
	f.Add([]byte(`{"WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100"}]}`), "pg_twophase/0000000000000007")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		if c, err := parseControl(content); err == nil {
			require.EqualValues(t, relSegBlocks, c.RelSegBlocks)
		}
		_, _, _ = ManifestEnd(content)
		for _, space := range []uint32{0, 16400} {
			if n := nameFile(space, name); n.kind == kindRelation {
				require.Less(t, uint64(n.segment)*relSegBlocks, uint64(1)<<32)
				require.NotZero(t, n.rel.Relation)
			}
		}
	})
}

// A prepared transaction that is too large for the store can be ended before the
// next import.
func TestLargePreparedTransactionHasAWayOut(t *testing.T) {
	err := new(Loader).small(t.Context(), &file{kind: kindTwoPhase, xid: 750}, maxSmall+1, nil)
	require.ErrorContains(t, err, "prepared transaction 750 has 16777217 bytes")
	require.ErrorContains(t, err, "ROLLBACK PREPARED")
}

// The seeds of the fuzz targets are good imports: redo of a cold copy begins at
// its checkpoint.
func TestSmallImport(t *testing.T) {
	messages := [][]byte{AppendArchive(nil, 0, ""), append([]byte{messageData}, archive(t, false)...), AppendEnd(nil, End{})}
	var stream []byte
	for _, m := range messages {
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(m))), m...)
	}
	base, err := loadStream(t, stream)
	require.NoError(t, err)
	require.Equal(t, pgdata.Label{Start: 0x2000028, TLI: 1}, base.Label)
}
