package wsframe

import (
	"bytes"
	"compress/flate"
	"runtime"
	"sync"
)

// Deflater compresses prepared frames for the connections that have agreed on
// permessage-deflate (RFC 7692), each frame once for all that it goes to. It
// takes no memory for a connection.
//
// No context is taken over from one message to the next, on either side: a
// window of its own is what makes compression dear for many connections, and
// what makes a compressed message good for one of them only.
//
// # Concurrency properties
//
// A Deflater is shared by any number of connections. Who needs a frame that
// is just being compressed waits for it.
type Deflater struct {
	from    int
	writers chan *packer // as many as may work at a time; nil is one not made yet

	mu     sync.Mutex // guards the following
	known  map[frameKey]*packed
	oldest []*packed // in the order in which they became known
	bytes  int       // of all that are known, as prepared
}

// frameKey tells prepared frames apart, by where they are: they are immutable,
// and as long as they are known they are held, so that nothing else can be
// there.
type frameKey struct {
	first *byte
	size  int
}

// packed is an element of prepared frames and its compressed form.
type packed struct {
	frames []byte // as prepared
	once   sync.Once
	form   []byte // what to send: frames itself if nothing is gained
}

// Bounds of what a Deflater remembers. The same event goes to many within
// moments; who comes later has it compressed again.
const (
	maxKnown      = 512
	maxKnownBytes = 8 << 20
)

// rsv1 marks a compressed message (RFC 7692, section 6).
const rsv1 = 0x40

// newDeflater makes a Deflater for messages of from bytes and more, and at
// least 64, below which there is nothing to gain.
func newDeflater(from int) *Deflater {
	d := &Deflater{from: max(from, 64), writers: make(chan *packer, runtime.GOMAXPROCS(0)), known: map[frameKey]*packed{}}
	for range cap(d.writers) {
		d.writers <- nil
	}
	return d
}

// compress gives an element of prepared frames with those compressed that are
// long enough and get shorter by it. A nil Deflater gives it as it is.
func (d *Deflater) compress(frames []byte) []byte {
	if d == nil || len(frames) < d.from {
		return frames
	}
	p := d.find(frames)
	p.once.Do(func() { p.form = d.pack(frames) })
	return p.form
}

// find makes frames known.
func (d *Deflater) find(frames []byte) *packed {
	key := keyOf(frames)
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.known[key]; p != nil {
		return p
	}
	p := &packed{frames: frames}
	d.known[key] = p
	d.oldest = append(d.oldest, p)
	d.bytes += len(frames)
	for len(d.oldest) > maxKnown || d.bytes > maxKnownBytes && len(d.oldest) > 1 {
		gone := d.oldest[0]
		d.oldest[0] = nil
		d.oldest = d.oldest[1:]
		d.bytes -= len(gone.frames)
		delete(d.known, keyOf(gone.frames))
	}
	return p
}

func keyOf(frames []byte) frameKey { return frameKey{&frames[0], len(frames)} }

// pack makes the compressed form.
func (d *Deflater) pack(frames []byte) []byte {
	w := <-d.writers
	if w == nil {
		w = newPacker()
	}
	defer func() { d.writers <- w }()
	form := make([]byte, 0, len(frames)/2)
	for rest := frames; len(rest) > 0; {
		op, payload, next, ok := Next(rest)
		if !ok {
			return frames // not prepared as it should be: not made worse
		}
		frame := rest[:len(rest)-len(next)]
		rest = next
		if len(payload) >= d.from {
			if short := w.deflate(payload); len(short) < len(payload) {
				header := len(form)
				form = append(AppendHeader(form, op, len(short)), short...)
				form[header] |= rsv1
				continue
			}
		}
		form = append(form, frame...)
	}
	if len(form) >= len(frames) {
		return frames
	}
	return form
}

// packer is a compressor and its output.
type packer struct {
	out    bytes.Buffer
	writer *flate.Writer
}

func newPacker() *packer {
	p := &packer{}
	p.writer, _ = flate.NewWriter(&p.out, flate.BestSpeed) // a valid level
	return p
}

// deflateTail ends what a flush has written and is not sent (RFC 7692, section
// 7.2.1).
var deflateTail = []byte{0x00, 0x00, 0xff, 0xff}

// deflate compresses a payload. The result is good until the next call.
func (p *packer) deflate(payload []byte) []byte {
	if p.out.Cap() > maxScratch {
		p.out = bytes.Buffer{}
	}
	p.out.Reset()
	p.writer.Reset(&p.out)
	_, _ = p.writer.Write(payload) // a Buffer takes all
	_ = p.writer.Flush()
	return bytes.TrimSuffix(p.out.Bytes(), deflateTail)
}
