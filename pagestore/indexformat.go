package pagestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// Layout: docs/format/index.md.
const (
	indexMagic   = "WALHAVIX"
	indexVersion = 2
	indexHeader  = 16 // magic, version, length
	maxIndexSize = 256 << 20
	maxPinName   = 255
	layerInfoLen = 8 + 4 + 4 + 8 + 8 + 2*KeySize
	dropLen      = 2*KeySize + 8
	endingLen    = 8 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// index is what a timeline durably knows about itself.
type index struct {
	Generation uint32         // of the writer
	Sequence   uint64         // number of this index, in its file name
	Timeline   wal.TimelineID // checked against the folder's name
	Parent     wal.TimelineID // zero without one
	BranchLSN  wal.LSN        // last LSN that comes from the parent
	Start      wal.LSN        // everything of its own lies above; the first LSN that can be read
	Flushed    wal.LSN        // everything at or below is in Runs
	Cutoff     wal.LSN        // LSNs below are readable only where pinned
	NextLayer  uint64         // number of the next layer file
	Runs       []runInfo      // newest first
	Pins       []Pin          // by LSN
}

// runInfo is a run: entries with From < LSN <= To in layers of disjoint keys.
//
// Guarantees: From < To, layers in key order, First <= Last < the next First. From
// and To do not rise from newer to older runs. The ranges of two runs overlap only
// where changes of one LSN were put in parts, and then no key is in both there.
type runInfo struct {
	From, To wal.LSN
	Layers   []layerInfo
	Drops    []drop
	Ends     []ending // by LSN
}

// isPart says that the run has a part of the changes at To, and the last part is
// not durable: after a crash all of To is put again.
func (r *runInfo) isPart(flushed wal.LSN) bool { return r.To > flushed }

func (r *runInfo) size() (n uint64) {
	for i := range r.Layers {
		n += r.Layers[i].Size
	}
	return n
}

// layerInfo names a layer file.
type layerInfo struct {
	Number      uint64
	Generation  uint32
	CRC         uint32 // CRC-32C of the whole file
	Size        uint64 // bytes
	Entries     uint64
	First, Last Key
}

// clone returns a copy whose slices can be edited; what runs hold is shared, it
// never changes.
func (x *index) clone() *index {
	c := *x
	c.Runs = slices.Clone(x.Runs)
	c.Pins = slices.Clone(x.Pins)
	return &c
}

// validate checks the guarantees. It is called where bytes become an index.
func (x *index) validate() error {
	switch {
	case x.Timeline.IsZero():
		return errors.New("no timeline ID")
	case x.Parent == x.Timeline:
		return errors.New("the timeline is its own parent")
	case !x.Parent.IsZero() && x.Start != x.BranchLSN:
		return fmt.Errorf("branch starts at %s, not at its branch LSN %s", x.Start, x.BranchLSN)
	case x.Flushed < x.Start:
		return fmt.Errorf("flushed LSN %s lies below the start %s", x.Flushed, x.Start)
	case x.Cutoff < x.Start || x.Cutoff > x.Flushed:
		return fmt.Errorf("cutoff %s does not lie between %s and %s", x.Cutoff, x.Start, x.Flushed)
	}
	for i := range x.Runs {
		r := &x.Runs[i]
		switch newer := &x.Runs[max(i-1, 0)]; {
		case r.From >= r.To, r.From < x.Start, r.To > newer.To, r.From > newer.From:
			return fmt.Errorf("run %d: LSNs %s..%s are out of order", i, r.From, r.To)
		case r.isPart(x.Flushed) && r.From != x.Flushed:
			return fmt.Errorf("run %d: LSNs %s..%s lie above the flushed %s", i, r.From, r.To, x.Flushed)
		}
		if err := r.validate(x.NextLayer); err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
	}
	for i := range x.Pins {
		p := &x.Pins[i]
		if err := p.validate(); err != nil {
			return fmt.Errorf("pin %d: %w", i, err)
		}
		if i > 0 && x.Pins[i-1].LSN > p.LSN {
			return fmt.Errorf("pin %d is out of order", i)
		}
	}
	return nil
}

func (r *runInfo) validate(nextLayer uint64) error {
	if len(r.Layers) == 0 && len(r.Drops) == 0 {
		return errors.New("is empty")
	}
	for i := range r.Layers {
		l := &r.Layers[i]
		if l.First.Compare(l.Last) > 0 || l.Last == MaxKey || i > 0 && r.Layers[i-1].Last.Compare(l.First) >= 0 {
			return fmt.Errorf("layer %d: keys are out of order", i)
		}
		if l.Number >= nextLayer {
			return fmt.Errorf("layer %d: number %d has not been given yet", i, l.Number)
		}
	}
	for i := range r.Drops {
		d := &r.Drops[i]
		if d.Empty() || d.lsn <= r.From || d.lsn > r.To {
			return fmt.Errorf("drop %d: range is empty or LSN %s lies outside", i, d.lsn)
		}
	}
	rest := r.size()
	for i, e := range r.Ends {
		if i > 0 && r.Ends[i-1].at >= e.at {
			return fmt.Errorf("ending %d: LSN %s is out of order", i, e.at)
		}
		if e.bytes > rest {
			return fmt.Errorf("ending %d: more bytes than there are", i)
		}
		rest -= e.bytes
	}
	return nil
}

func encodeIndex(x *index) ([]byte, error) {
	le := binary.LittleEndian
	b := append(make([]byte, 0, 4096), indexMagic...)
	b = le.AppendUint32(b, indexVersion)
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint32(b, x.Generation)
	b = le.AppendUint64(b, x.Sequence)
	b = append(b, x.Timeline[:]...)
	b = append(b, x.Parent[:]...)
	for _, v := range []uint64{uint64(x.BranchLSN), uint64(x.Start), uint64(x.Flushed), uint64(x.Cutoff), x.NextLayer} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, uint32(len(x.Runs)))
	for i := range x.Runs {
		b = x.Runs[i].encode(b)
	}
	b = le.AppendUint32(b, uint32(len(x.Pins)))
	for i := range x.Pins {
		p := &x.Pins[i]
		b = append(b, byte(p.Kind), byte(len(p.Name)))
		b = le.AppendUint64(b, uint64(p.LSN))
		b = le.AppendUint64(b, uint64(p.expiry()))
		b = append(b, p.Name...)
	}
	if len(b)+4 > maxIndexSize {
		return nil, fmt.Errorf("index of %d bytes is larger than %d: %w", len(b), maxIndexSize, ErrTooLarge)
	}
	le.PutUint32(b[12:], uint32(len(b)-indexHeader))
	return appendSum(b), nil
}

func appendSum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (r *runInfo) encode(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(r.From))
	b = le.AppendUint64(b, uint64(r.To))
	b = le.AppendUint32(b, uint32(len(r.Layers)))
	b = le.AppendUint32(b, uint32(len(r.Drops)))
	b = le.AppendUint32(b, uint32(len(r.Ends)))
	for i := range r.Layers {
		l := &r.Layers[i]
		b = le.AppendUint64(b, l.Number)
		b = le.AppendUint32(b, l.Generation)
		b = le.AppendUint32(b, l.CRC)
		b = le.AppendUint64(b, l.Size)
		b = le.AppendUint64(b, l.Entries)
		b = append(b, l.First[:]...)
		b = append(b, l.Last[:]...)
	}
	for i := range r.Drops {
		d := &r.Drops[i]
		b = append(b, d.Start[:]...)
		b = append(b, d.End[:]...)
		b = le.AppendUint64(b, uint64(d.lsn))
	}
	for _, e := range r.Ends {
		b = le.AppendUint64(b, uint64(e.at))
		b = le.AppendUint64(b, e.bytes)
	}
	return b
}

// decodeIndex reads what encodeIndex wrote; offset is where the damage is when
// it fails.
func decodeIndex(content []byte) (x *index, offset int64, err error) {
	le := binary.LittleEndian
	if len(content) < indexHeader+4 || string(content[:8]) != indexMagic {
		return nil, 0, errors.New("is not an index")
	}
	version, length := le.Uint32(content[8:]), le.Uint32(content[12:])
	body := uint64(len(content) - indexHeader - 4)
	if sum := crc32.Checksum(content[:len(content)-4], castagnoli); sum != le.Uint32(content[len(content)-4:]) {
		return nil, int64(len(content) - 4), fmt.Errorf("checksum is %08x, expected %08x", le.Uint32(content[len(content)-4:]), sum)
	}
	if version > indexVersion {
		return nil, 8, fmt.Errorf("%w: version %d, this program knows %d", ErrNewerVersion, version, indexVersion)
	}
	if version == 0 || uint64(length) != body {
		return nil, 8, fmt.Errorf("version %d or length %d is wrong", version, length)
	}
	d := decoder{b: content[indexHeader : len(content)-4], version: version}
	x = d.index()
	if d.failed {
		return nil, int64(len(content) - 4 - len(d.b)), errors.New("ends too early")
	}
	if len(d.b) != 0 {
		return nil, int64(len(content) - 4 - len(d.b)), fmt.Errorf("%d bytes follow its end", len(d.b))
	}
	if err := x.validate(); err != nil {
		return nil, indexHeader, err
	}
	return x, 0, nil
}

// decoder takes fields off the front of b. After failed, fields are zero.
type decoder struct {
	b       []byte
	version uint32
	failed  bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.failed = true
		return make([]byte, n) // At most a name or an ID.
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() byte     { return d.take(1)[0] }
func (d *decoder) u32() uint32  { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64  { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *decoder) lsn() wal.LSN { return wal.LSN(d.u64()) }
func (d *decoder) key() Key     { return Key(d.take(KeySize)) }

// count reads a number of elements of at least size bytes each: never more than
// fit into what is left, so that a damaged count cannot ask for memory.
func (d *decoder) count(size int) int {
	n := d.u32()
	if uint64(n)*uint64(size) > uint64(len(d.b)) {
		d.failed = true
		return 0
	}
	return int(n)
}

func (d *decoder) index() *index {
	x := &index{Generation: d.u32(), Sequence: d.u64(), Timeline: wal.TimelineID(d.take(16)), Parent: wal.TimelineID(d.take(16))}
	x.BranchLSN, x.Start, x.Flushed, x.Cutoff, x.NextLayer = d.lsn(), d.lsn(), d.lsn(), d.lsn(), d.u64()
	x.Runs = make([]runInfo, d.count(24))
	for i := range x.Runs {
		if d.failed {
			return x
		}
		x.Runs[i] = d.run()
	}
	x.Pins = make([]Pin, d.count(18))
	for i := range x.Pins {
		if d.failed {
			return x
		}
		kind, name := d.u8(), d.u8()
		p := Pin{Kind: PinKind(kind), LSN: d.lsn()}
		p.setExpiry(int64(d.u64()))
		p.Name = string(d.take(int(name)))
		x.Pins[i] = p
	}
	return x
}

func (d *decoder) run() runInfo {
	r := runInfo{From: d.lsn(), To: d.lsn()}
	layers := d.u32()
	drops := d.u32()
	ends := uint32(0)
	if d.version > 1 {
		ends = d.u32()
	}
	if uint64(layers)*layerInfoLen+uint64(drops)*dropLen+uint64(ends)*endingLen > uint64(len(d.b)) {
		d.failed = true
		return r
	}
	r.Layers, r.Drops = make([]layerInfo, layers), make([]drop, drops)
	for i := range r.Layers {
		r.Layers[i] = layerInfo{Number: d.u64(), Generation: d.u32(), CRC: d.u32(), Size: d.u64(), Entries: d.u64(), First: d.key(), Last: d.key()}
	}
	for i := range r.Drops {
		r.Drops[i] = drop{KeyRange: KeyRange{d.key(), d.key()}, lsn: d.lsn()}
	}
	if ends > 0 {
		r.Ends = make([]ending, ends)
	}
	for i := range r.Ends {
		r.Ends[i] = ending{at: d.lsn(), bytes: d.u64()}
	}
	if size := r.size(); d.version == 1 && size > 0 {
		// Nothing is known: it is written anew once, when the cutoff has passed all of it.
		r.Ends = []ending{{r.To - 1, size}}
	}
	return r
}
