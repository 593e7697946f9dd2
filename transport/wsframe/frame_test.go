package wsframe

import (
	"bytes"
	"testing"
)

func Test_frames_come_apart_as_they_were_put_together(t *testing.T) {
	var all []byte
	sizes := []int{0, 1, 125, 126, 65535, 65536, 1 << 20}
	for i, size := range sizes {
		payload := bytes.Repeat([]byte{byte('a' + i)}, size)
		before := len(all)
		if i%2 == 0 {
			all = append(all, Text(payload)...)
		} else {
			all = append(all, Binary(payload)...)
		}
		if got, want := len(all)-before, HeaderSize(size)+size; got != want {
			t.Errorf("frame of %d bytes has %d, want %d", size, got, want)
		}
	}
	for i, size := range sizes {
		op, payload, rest, ok := Next(all)
		want := OpText
		if i%2 == 1 {
			want = OpBinary
		}
		if !ok || op != want || !bytes.Equal(payload, bytes.Repeat([]byte{byte('a' + i)}, size)) {
			t.Fatalf("frame %d: opcode %d, %d bytes, %v, want opcode %d and %d bytes", i, op, len(payload), ok, want, size)
		}
		all = rest
	}
	if _, _, _, ok := Next(all); ok || len(all) != 0 {
		t.Errorf("%d bytes left, want none", len(all))
	}
}

func Fuzz_next(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(Text([]byte("4hello")))
	f.Add(Binary(make([]byte, 300)))
	f.Add([]byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, frames []byte) {
		for {
			op, payload, rest, ok := Next(frames)
			if !ok {
				return
			}
			if len(payload)+len(rest) >= len(frames) {
				t.Fatalf("%d and %d bytes out of %d", len(payload), len(rest), len(frames))
			}
			if again := append(AppendHeader(nil, op&0xf, len(payload)), payload...); len(again) > 10+len(payload) {
				t.Fatalf("header of %d bytes", len(again)-len(payload))
			}
			frames = rest
		}
	})
}
