package wsframe

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// clientFrame is a masked frame with a payload of a size.
func clientFrame(op Opcode, size int) []byte {
	f := AppendHeader(nil, op, size)
	f[1] |= maskBit
	f = append(f, 1, 2, 3, 4)
	return append(f, make([]byte, size)...)
}

func Test_frames_are_counted_in_whatever_pieces_they_come(t *testing.T) {
	var all []byte
	sizes := []int{0, 1, 125, 126, 300, 65535, 65536, 0, 0, 70000, 5}
	for i, size := range sizes {
		all = append(all, clientFrame(Opcode(i%11), size)...)
	}
	for range 100 {
		var c frameCounter
		frames := 0
		for rest := all; len(rest) > 0; {
			n := 1 + rand.IntN(min(len(rest), 1+rand.IntN(2000)))
			frames += c.count(rest[:n])
			rest = rest[n:]
		}
		if frames != len(sizes) {
			t.Fatalf("%d frames, want %d", frames, len(sizes))
		}
	}
}

// Fragments, empty ones, pings and pongs are all the same to the bound.
func Test_too_many_frames_abort_the_connection(t *testing.T) {
	for name, frame := range map[string]string{
		"fragments":       "\x00\x81\x00\x00\x00\x00x",
		"empty_fragments": "\x00\x80\x00\x00\x00\x00",
		"pings":           "\x89\x80\x00\x00\x00\x00",
		"pongs":           "\x8a\x80\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := 0
				a := accept(t, Options{OnFrames: func(n int) bool { seen += n; return seen <= 1000 }}, "\x01\x80\x00\x00\x00\x00")
				go func() { _, _ = io.Copy(io.Discard, a.reader) }()
				go func() {
					for {
						if _, err := io.WriteString(a.client, strings.Repeat(frame, 10)); err != nil {
							return
						}
					}
				}()
				if _, _, err := a.conn.Read(); !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrProtocol) {
					t.Errorf("read: %v, want %v", err, net.ErrClosed)
				}
				if seen < 1001 || seen > 1100 {
					t.Errorf("%d frames were taken, want about 1000", seen)
				}
			})
		})
	}
}

func Fuzz_count(f *testing.F) {
	f.Add([]byte{}, 1)
	f.Add(clientFrame(OpText, 300), 7)
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1}, 3)
	f.Fuzz(func(t *testing.T, all []byte, piece int) {
		var whole, pieces frameCounter
		want := whole.count(all)
		got := 0
		for rest := all; len(rest) > 0; {
			n := min(max(piece, 1), len(rest))
			got += pieces.count(rest[:n])
			rest = rest[n:]
		}
		if got != want || whole != pieces || want > len(all)/2 {
			t.Fatalf("%d frames in pieces of %d, %d at once, in %d bytes", got, piece, want, len(all))
		}
	})
}

func Benchmark_count(b *testing.B) {
	frames := make([]byte, 0, 512)
	for len(frames) < 500 {
		frames = append(frames, clientFrame(OpText, 40)...)
	}
	b.SetBytes(int64(len(frames)))
	for b.Loop() {
		var c frameCounter
		c.count(frames)
	}
}
