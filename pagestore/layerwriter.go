package pagestore

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// layerWriter writes one layer file under its final name: until the index names
// it, it is garbage that the next Open removes.
type layerWriter struct {
	d    *disk
	path string
	file *layerFile
	w    *sstable.Writer
	info layerInfo
	rows rowGroup
	k    []byte
}

// layerForm is how the blocks of a layer are made.
type layerForm struct {
	compression Compression
	blockSize   int // bytes
}

// hurriedBlock times as large are the blocks of layers that are flushed while much is
// put. Pebble hands each block to a goroutine that writes it, and waking that one costs
// as much as packing a good part of a block does. Merges make blocks of the usual size.
const hurriedBlock = 2

// flushForm is the form of layers that are flushed now.
func (t *Timeline) flushForm() layerForm {
	form := layerForm{t.s.o.FlushCompression, t.s.o.BlockSize}
	if t.hurries() {
		form.blockSize *= hurriedBlock
	}
	return form
}

func (t *Timeline) newLayerWriter(form layerForm) (*layerWriter, error) {
	info := layerInfo{Number: t.nextLayer.Add(1) - 1, Generation: t.s.generation}
	lw := &layerWriter{
		d: &t.s.disk, path: t.s.disk.PathJoin(t.dir, layerName(&info)), info: info,
		rows: rowGroup{limit: t.s.o.BlockSize / rowsOfBlock},
	}
	invariant.Point(pointLayerWrite)
	f, err := t.s.disk.Create(lw.path, writeCategory)
	if err != nil {
		return nil, fmt.Errorf("create layer: %w", err)
	}
	lw.file = &layerFile{d: lw.d, f: f}
	lw.file.buf = bufio.NewWriterSize(fileWriter{lw.file}, 256<<10)
	lw.w = sstable.NewWriter(lw.file, sstable.WriterOptions{
		BlockSize:          form.blockSize,
		Comparer:           layerComparer,
		KeySchema:          &layerSchema,
		Compression:        form.compression.profile(),
		FilterPolicy:       layerFilter,
		FilterType:         sstable.TableFilter,
		IndexBlockSize:     64 << 10,
		TableFormat:        tableFormat,
		DisableValueBlocks: true,
	})
	return lw, nil
}

// rowsOfBlock is how many rows of several entries a block has at least, about.
const rowsOfBlock = 4

// add appends an entry; entries come in the order of layers.
func (lw *layerWriter) add(it *item) error {
	// Pebble looks at the places of rows only.
	if g := &lw.rows; g.entries > 0 && it.key == g.key && !older(it, g) {
		return fmt.Errorf("write layer: entry at %s behind one at %s: %w", it.lsn, g.lsn, errRow)
	}
	if lw.info.Entries == 0 {
		lw.info.First = it.key
	}
	lw.info.Last = it.key
	lw.info.Entries++
	if lw.rows.add(it) {
		return nil
	}
	if err := lw.endRow(); err != nil {
		return err
	}
	if lw.rows.add(it) {
		return nil
	}
	return lw.set(it.key, it.lsn, it.ord, it.stored)
}

// older says whether an entry belongs behind those of a row.
func older(it *item, g *rowGroup) bool { return it.lsn < g.lsn || it.lsn == g.lsn && it.ord < g.ord }

// endRow writes the row that has been gathered, if there is one.
func (lw *layerWriter) endRow() error {
	if g := &lw.rows; g.entries > 0 {
		return lw.set(g.key, g.lsn, g.ord, g.take())
	}
	return nil
}

func (lw *layerWriter) set(key Key, lsn wal.LSN, ord uint16, value []byte) error {
	lw.k = appendLayerKey(lw.k[:0], key, lsn, ord)
	if err := lw.w.Set(lw.k, value); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

func (lw *layerWriter) size() uint64 { return lw.w.Raw().EstimatedSize() }

// finish completes and fsyncs the file. Its name is durable once the folder has
// been fsynced.
func (lw *layerWriter) finish() (layerInfo, error) {
	if err := errors.Join(lw.endRow(), lw.w.Close()); err != nil {
		return layerInfo{}, fmt.Errorf("finish layer: %w", errors.Join(err, lw.d.remove(lw.path, pointLayerRemove)))
	}
	lw.info.Size, lw.info.CRC = lw.file.size, lw.file.crc
	return lw.info, nil
}

// abort throws the file away.
func (lw *layerWriter) abort() {
	lw.file.aborted = true
	_ = lw.w.Close()                           // Fails, and ends the writer's goroutine.
	_ = lw.d.remove(lw.path, pointLayerRemove) // What stays is removed by the next Open.
}

var errAborted = errors.New("layer was given up")

// layerFile is the objstorage.Writable of a layer: it buffers, counts and sums.
type layerFile struct {
	d       *disk
	f       vfs.File
	buf     *bufio.Writer
	size    uint64
	crc     uint32
	aborted bool
}

// fileWriter is the file side of the buffer. vfs.File.Write may change its
// argument, so the sum is made before.
type fileWriter struct{ l *layerFile }

func (w fileWriter) Write(p []byte) (int, error) {
	w.l.crc = crc32.Update(w.l.crc, castagnoli, p)
	invariant.Point(pointLayerWrite)
	n, err := w.l.f.Write(p)
	w.l.size += uint64(n)
	return n, err
}

func (l *layerFile) Write(p []byte) error {
	_, err := l.buf.Write(p)
	return err
}

func (l *layerFile) Finish() error {
	if l.aborted {
		return errors.Join(errAborted, l.f.Close())
	}
	err := l.buf.Flush()
	if err == nil {
		err = l.d.sync(l.f, pointLayerSync)
	}
	return errors.Join(err, l.f.Close())
}

func (l *layerFile) Abort() { _ = l.f.Close() } // The caller removes the file.
