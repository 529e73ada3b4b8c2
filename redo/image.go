package redo

import (
	"errors"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

var errImage = errors.New("page image does not unpack to its size")

// zstdDecoder serves all callers; DecodeAll keeps no state between calls.
var zstdDecoder = newZstdDecoder()

func newZstdDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(64<<10), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // Constant options.
	}
	return d
}

// RestoreImage makes p the page that img holds, with zeroes in its hole. pd_lsn
// is then that of before the record. Images that are there for checks only are
// unpacked alike.
func RestoreImage(p *page.Page, img *walrecord.Image) error {
	hole, at := int(img.HoleLength), int(img.HoleOffset)
	size := page.Size - hole
	if at+hole > page.Size {
		return errImage
	}
	if img.Compression == walrecord.CompressionNone {
		if len(img.Data) != size {
			return errImage
		}
		copy(p[:at], img.Data[:at])
		copy(p[at+hole:], img.Data[at:])
	} else {
		if !unpack(p[:size:size], img) {
			return errImage
		}
		copy(p[at+hole:], p[at:size])
	}
	clear(p[at : at+hole])
	return nil
}

// unpack decompresses img to exactly the length of dst.
func unpack(dst []byte, img *walrecord.Image) bool {
	switch img.Compression {
	case walrecord.CompressionPGLZ:
		return unpackPGLZ(dst, img.Data)
	case walrecord.CompressionLZ4:
		n, err := lz4.UncompressBlock(img.Data, dst)
		return err == nil && n == len(dst)
	case walrecord.CompressionZstd:
		out, err := zstdDecoder.DecodeAll(img.Data, dst[:0:len(dst)])
		if err != nil || len(out) != len(dst) {
			return false
		}
		copy(dst, out) // The decoder may have moved to a larger buffer.
		return true
	}
	return false
}
