package wsframe

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// deflating serves a WebSocket with a Deflater and gives both ends and what
// was agreed on.
func deflating(t *testing.T, o Options, offer websocket.CompressionMode) (server *Conn, client *websocket.Conn, agreed string) {
	t.Helper()
	got := make(chan *Conn, 1)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			t.Error(err)
		}
		got <- c
	}))
	client, answer, err := websocket.Dial(context.Background(), h.URL, &websocket.DialOptions{CompressionMode: offer, CompressionThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	client.SetReadLimit(-1)
	server = <-got
	t.Cleanup(func() {
		_ = client.CloseNow()
		server.Abort()
		server.Close()
		h.Client().CloseIdleConnections()
		h.Close()
	})
	return server, client, answer.Header.Get("Sec-WebSocket-Extensions")
}

// wordy is text that compresses well.
func wordy(size int) []byte {
	return bytes.Repeat([]byte(`{"productId":"apples","delta":1},`), size/33+1)[:size]
}

func Test_clients_that_offer_deflate_get_what_the_others_get(t *testing.T) {
	d := newDeflater(1024)
	large, small := Text(wordy(5000)), Text(wordy(100))
	several := append(append(Text(wordy(3000)), Binary(wordy(2000))...), Text([]byte("end"))...)
	for name, offer := range map[string]websocket.CompressionMode{
		"not_offered": websocket.CompressionDisabled, "without_context": websocket.CompressionNoContextTakeover, "with_context": websocket.CompressionContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			server, client, agreed := deflating(t, Options{Deflater: d}, offer)
			if want := offer != websocket.CompressionDisabled; strings.HasPrefix(agreed, "permessage-deflate") != want {
				t.Fatalf("agreed on %q, want deflate %v", agreed, want)
			}
			if err := server.Write(large, small, several); err != nil {
				t.Fatal(err)
			}
			if err := server.Write(large); err != nil {
				t.Fatal(err)
			}
			for i, want := range [][]byte{wordy(5000), wordy(100), wordy(3000), wordy(2000), []byte("end"), wordy(5000)} {
				if _, got, err := client.Read(context.Background()); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("message %d: %.40q, %v, want %.40q", i, got, err, want)
				}
			}
			// And the other way.
			for _, want := range [][]byte{wordy(5000), wordy(10)} {
				if err := client.Write(context.Background(), websocket.MessageText, want); err != nil {
					t.Fatal(err)
				}
				if _, got, err := server.Read(); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("server read %.40q, %v, want %.40q", got, err, want)
				}
			}
		})
	}
}

func Test_frames_are_compressed_once_for_all(t *testing.T) {
	d := newDeflater(1024)
	frame := Text(wordy(5000))
	first := d.compress(frame)
	if len(first) > len(frame)/5 || first[0] != fin|rsv1|byte(OpText) {
		t.Errorf("%d bytes beginning with %x, want far fewer than %d and RSV1", len(first), first[0], len(frame))
	}
	var others sync.WaitGroup
	for range 8 {
		others.Go(func() {
			if again := d.compress(frame); &again[0] != &first[0] {
				t.Error("the same frame was compressed again")
			}
		})
	}
	others.Wait()
}

func Test_what_is_short_or_gets_no_shorter_stays_as_it_is(t *testing.T) {
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(rand.Int())
	}
	d := newDeflater(1024)
	for name, frames := range map[string][]byte{
		"short":         Text(wordy(1000)),
		"noise":         Binary(noise),
		"several_short": append(Text(wordy(600)), Text(wordy(600))...),
		"not_whole":     Text(wordy(5000))[:4000],
		"none":          {},
	} {
		if got := d.compress(frames); len(got) != len(frames) || len(got) > 0 && &got[0] != &frames[0] {
			t.Errorf("%s: %d bytes, want the same %d", name, len(got), len(frames))
		}
	}
	var off *Deflater
	if frame := Text(wordy(5000)); &off.compress(frame)[0] != &frame[0] {
		t.Error("no Deflater changes a frame")
	}
}

// Invariant 9: what is remembered is bounded, in number and bytes.
func Test_what_a_deflater_remembers_is_bounded(t *testing.T) {
	for name, c := range map[string]struct{ frames, size int }{"many": {2 * maxKnown, 1100}, "large": {20, 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			d := newDeflater(1024)
			for range c.frames {
				d.compress(Text(wordy(c.size)))
			}
			if len(d.known) != len(d.oldest) || len(d.known) > maxKnown || d.bytes > maxKnownBytes || len(d.known) < 5 {
				t.Errorf("%d and %d remembered, %d bytes, want at most %d and %d", len(d.known), len(d.oldest), d.bytes, maxKnown, maxKnownBytes)
			}
		})
	}
}

// rawDeflate makes a client's compressed message out of what comes from r.
func rawDeflate(t *testing.T, r io.Reader) string {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), string(deflateTail))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A message of a few KB that comes out as 8 MB is cut off at the limit.
func Test_deflate_bomb_is_cut_off_at_the_read_limit(t *testing.T) {
	const limit = 10_000
	bomb := rawDeflate(t, io.LimitReader(zeros{}, 8<<20))
	client := make([]byte, 0, len(bomb)+14)
	client = append(client, fin|rsv1|byte(OpBinary), 0x80|127, 0, 0, 0, 0, byte(len(bomb)>>24), byte(len(bomb)>>16), byte(len(bomb)>>8), byte(len(bomb)), 0, 0, 0, 0)
	client = append(client, bomb...)
	// What others allocate at the same time counts, too: the least of some.
	took := uint64(math.MaxUint64)
	for range 5 {
		a := acceptWith(t, Options{Deflater: newDeflater(1024), ReadLimit: limit}, "Sec-WebSocket-Extensions: permessage-deflate\r\n", "")
		go func() { _, _ = a.client.Write(client) }()
		go func() { _, _ = io.Copy(io.Discard, a.reader) }()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := a.conn.Read()
		runtime.ReadMemStats(&after)
		if !errors.Is(err, websocket.ErrMessageTooBig) {
			t.Errorf("read: %v, want %v", err, websocket.ErrMessageTooBig)
		}
		took = min(took, after.TotalAlloc-before.TotalAlloc)
	}
	if took > 20*limit {
		t.Errorf("%d bytes were allocated for it, the limit is %d", took, limit)
	}
}

func Test_compressed_messages_that_are_none_end_the_connection(t *testing.T) {
	extension := "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	compressed := func(op Opcode, payload string) string {
		frame := []byte(masked(op, payload))
		frame[0] |= rsv1
		return string(frame)
	}
	for name, c := range map[string]struct {
		d      *Deflater
		header string
		frames string
	}{
		"garbage":                    {newDeflater(1024), extension, compressed(OpText, "\xff\xff\xff\xff\xff")},
		"not_agreed_on":              {nil, extension, compressed(OpText, rawDeflate(t, strings.NewReader("hello")))},
		"not_offered":                {newDeflater(1024), "", compressed(OpText, rawDeflate(t, strings.NewReader("hello")))},
		"compressed_ping":            {newDeflater(1024), extension, compressed(0x9, "")},
		"compressed_fragment":        {newDeflater(1024), extension, "\x01\x80\x00\x00\x00\x00" + compressed(0x0, "x")},
		"rsv2":                       {newDeflater(1024), extension, "\xa1\x80\x00\x00\x00\x00"},
		"refers_to_a_message_before": {newDeflater(1024), extension, compressed(OpText, "\x0a\x03\xff\xff\xff\x00")},
	} {
		t.Run(name, func(t *testing.T) {
			a := acceptWith(t, Options{Deflater: c.d}, c.header, c.frames)
			go func() { _, _ = io.Copy(io.Discard, a.reader) }()
			if _, data, err := a.conn.Read(); !errors.Is(err, ErrProtocol) {
				t.Errorf("read %q, %v, want %v", data, err, ErrProtocol)
			}
		})
	}
}

func Benchmark_compress(b *testing.B) {
	for name, size := range map[string]int{"2KB": 2 << 10, "20KB": 20 << 10} {
		b.Run(name, func(b *testing.B) {
			d := newDeflater(1024)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				d.pack(Text(wordy(size)))
			}
		})
	}
	b.Run("known", func(b *testing.B) {
		d := newDeflater(1024)
		frame := Text(wordy(2 << 10))
		b.ReportAllocs()
		for b.Loop() {
			d.compress(frame)
		}
	})
}
