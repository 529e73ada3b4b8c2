package pagestream

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// golden are the messages laid out by hand from Neon's definition of them
// (pagestore_client.h: every field in order, big-endian, packed).
var golden = []struct {
	name     string
	request  Request
	v2, v3   string // the request
	response Response
	r2, r3   string // its response; P stands for a page of bytes 0x50
}{
	{
		name: "exists", request: Request{Kind: Exists, ID: 7, LSN: Latest, NotModifiedSince: 0x1a2b3c4d5e6f, Tablespace: 1663, Database: 5, Relation: 16384, Fork: 2},
		v2:       "00 ffffffffffffffff 00001a2b3c4d5e6f 0000067f 00000005 00004000 02",
		v3:       "00 0000000000000007 ffffffffffffffff 00001a2b3c4d5e6f 0000067f 00000005 00004000 02",
		response: Response{Exists: true},
		r2:       "64 01",
		r3:       "64 0000000000000007 ffffffffffffffff 00001a2b3c4d5e6f 0000067f 00000005 00004000 02 01",
	},
	{
		name: "nblocks", request: Request{Kind: Nblocks, ID: 8, LSN: 0x16b3748, NotModifiedSince: 0x16b3740, Tablespace: 1664, Relation: 1262},
		v2:       "01 00000000016b3748 00000000016b3740 00000680 00000000 000004ee 00",
		v3:       "01 0000000000000008 00000000016b3748 00000000016b3740 00000680 00000000 000004ee 00",
		response: Response{Blocks: 131073},
		r2:       "65 00020001",
		r3:       "65 0000000000000008 00000000016b3748 00000000016b3740 00000680 00000000 000004ee 00 00020001",
	},
	{
		name: "page", request: Request{Kind: GetPage, ID: 0x0102030405060708, LSN: 0x16b3748, NotModifiedSince: 1, Tablespace: 1663, Database: 5, Relation: 16384, Fork: 3, Block: 0xfffffffe},
		v2:       "02 00000000016b3748 0000000000000001 0000067f 00000005 00004000 03 fffffffe",
		v3:       "02 0102030405060708 00000000016b3748 0000000000000001 0000067f 00000005 00004000 03 fffffffe",
		response: Response{Pages: bytes.Repeat([]byte{0x50}, PageSize)},
		r2:       "66 P",
		r3:       "66 0102030405060708 00000000016b3748 0000000000000001 0000067f 00000005 00004000 03 fffffffe P",
	},
	{
		name: "database", request: Request{Kind: DBSize, ID: 9, LSN: 2, NotModifiedSince: 1, Database: 16401},
		v2:       "03 0000000000000002 0000000000000001 00004011",
		v3:       "03 0000000000000009 0000000000000002 0000000000000001 00004011",
		response: Response{Bytes: 7 << 40},
		r2:       "68 0000070000000000",
		r3:       "68 0000000000000009 0000000000000002 0000000000000001 00004011 0000070000000000",
	},
	{
		name: "slru", request: Request{Kind: GetSlruSegment, ID: 10, LSN: 2, NotModifiedSince: 1, SLRU: SlruMultixactOffsets, Segment: 0x1234},
		v2:       "04 0000000000000002 0000000000000001 02 00001234",
		v3:       "04 000000000000000a 0000000000000002 0000000000000001 02 00001234",
		response: Response{Pages: bytes.Repeat([]byte{0x50}, 2*PageSize)},
		r2:       "69 00000002 PP",
		r3:       "69 000000000000000a 0000000000000002 0000000000000001 02 00001234 00000002 PP",
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	s = strings.ReplaceAll(strings.ReplaceAll(s, " ", ""), "P", strings.Repeat("50", PageSize))
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestGoldenBytes(t *testing.T) {
	for _, g := range golden {
		for v, wants := range map[Version][2]string{Version2: {g.v2, g.r2}, Version3: {g.v3, g.r3}} {
			request := g.request
			if v == Version2 {
				request.ID = 0
			}
			require.Equal(t, unhex(t, wants[0]), AppendRequest(nil, v, &request), g.name)
			var got Request
			require.NoError(t, DecodeRequest(v, unhex(t, wants[0]), &got), g.name)
			require.Equal(t, request, got, g.name)

			response := g.response
			response.Request = request
			require.Equal(t, unhex(t, wants[1]), AppendResponse(nil, v, &response), g.name)
			var answer Response
			require.NoError(t, DecodeResponse(v, unhex(t, wants[1]), &answer), g.name)
			if v == Version2 {
				response.Request = Request{Kind: request.Kind}
			}
			require.Equal(t, response, answer, g.name)
		}
	}
	require.Len(t, unhex(t, golden[2].v2), 34)
	require.Len(t, unhex(t, golden[2].v3), 42)
	require.Len(t, unhex(t, golden[2].r2), 8193)
	require.Len(t, unhex(t, golden[2].r3), 8234)
}

func TestErrorResponses(t *testing.T) {
	for v, want := range map[Version]string{
		Version2: "67 6e6f00",
		Version3: "67 0102030405060708 00000000016b3748 0000000000000001 6e6f00",
	} {
		r := Response{Request: golden[2].request, Failure: "no"}
		require.Equal(t, unhex(t, want), AppendResponse(nil, v, &r))
		var got Response
		require.NoError(t, DecodeResponse(v, unhex(t, want), &got))
		require.Equal(t, "no", got.Failure)
		if v == Version3 {
			require.Equal(t, Request{ID: r.Request.ID, LSN: r.Request.LSN, NotModifiedSince: r.Request.NotModifiedSince}, got.Request)
		}
	}
}

func TestWrongBytesAreRefused(t *testing.T) {
	for _, g := range golden {
		for v, texts := range map[Version][2]string{Version2: {g.v2, g.r2}, Version3: {g.v3, g.r3}} {
			request, response := unhex(t, texts[0]), unhex(t, texts[1])
			for n := range request {
				require.ErrorIs(t, DecodeRequest(v, request[:n], &Request{}), ErrMalformed)
			}
			require.ErrorIs(t, DecodeRequest(v, append(request, 0), &Request{}), ErrMalformed)
			require.ErrorIs(t, DecodeRequest(1, request, &Request{}), ErrMalformed)
			for n := range min(len(response), 100) {
				require.ErrorIs(t, DecodeResponse(v, response[:n], &Response{}), ErrMalformed)
			}
			require.ErrorIs(t, DecodeResponse(v, append(response, 0), &Response{}), ErrMalformed)
		}
	}
	for _, text := range []string{"05", "63", "64 02", "67", "67 00", "67 610062", "6a", "69 00000021"} {
		require.ErrorIs(t, DecodeResponse(Version2, unhex(t, text), &Response{}), ErrMalformed, text)
	}
	require.ErrorIs(t, DecodeRequest(Version2, append([]byte{5}, make([]byte, 20)...), &Request{}), ErrMalformed)
}

func FuzzDecodeRequest(f *testing.F) {
	for _, g := range golden {
		f.Add(2, unhex(f, g.v2))
		f.Add(3, unhex(f, g.v3))
	}
	f.Fuzz(func(t *testing.T, version int, b []byte) {
		var r Request
		if DecodeRequest(Version(version), b, &r) == nil {
			require.Equal(t, b, AppendRequest(nil, Version(version), &r))
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	for _, g := range golden {
		f.Add(2, unhex(f, g.r2))
		f.Add(3, unhex(f, g.r3))
	}
	f.Add(3, unhex(f, "67 0102030405060708 00000000016b3748 0000000000000001 6e6f00"))
	f.Fuzz(func(t *testing.T, version int, b []byte) {
		var r Response
		if DecodeResponse(Version(version), b, &r) == nil {
			require.Equal(t, b, AppendResponse(nil, Version(version), &r))
		}
	})
}

func BenchmarkDecodeRequest(b *testing.B) {
	message := unhex(b, golden[2].v3)
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeRequest(Version3, message, &r); err != nil {
			b.Fatal(err)
		}
	}
}
