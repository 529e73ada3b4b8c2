package redo

// unpackPGLZ decompresses a raw stream of PostgreSQL's own method to exactly the
// length of dst (pglz_decompress with check_complete): control bytes, low bit
// first, each bit a literal byte (0) or a tag of two or three bytes (1) that
// repeats 3 to 273 bytes from 1 to 4095 bytes back.
func unpackPGLZ(dst, src []byte) bool {
	at := 0
	for len(src) > 0 && at < len(dst) {
		control := src[0]
		src = src[1:]
		for bit := 0; bit < 8 && len(src) > 0 && at < len(dst); bit++ {
			if control>>bit&1 == 0 {
				dst[at] = src[0]
				src = src[1:]
				at++
				continue
			}
			if len(src) < 2 {
				return false
			}
			length := int(src[0]&0x0F) + 3
			back := int(src[0]&0xF0)<<4 | int(src[1])
			src = src[2:]
			if length == 18 {
				if len(src) == 0 {
					return false
				}
				length += int(src[0])
				src = src[1:]
			}
			if back == 0 || back > at {
				return false
			}
			length = min(length, len(dst)-at)
			for range length { // Source and destination may overlap.
				dst[at] = dst[at-back]
				at++
			}
		}
	}
	return at == len(dst) && len(src) == 0
}
