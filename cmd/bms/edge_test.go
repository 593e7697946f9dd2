package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bms/domain"
)

// edgeNode is a node whose whole log is kept.
type edgeNode struct {
	*testNode
	t     *testing.T
	lines *lockedBuffer
	other <-chan string // what a client hears who does nothing wrong
	sales int
}

// lockedBuffer takes lines of many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func startEdgeNode(t *testing.T, more ...string) *edgeNode {
	t.Helper()
	flags, cfg := serveFlags()
	args := append([]string{"--addr", "127.0.0.1:0", "--data", t.TempDir(), "--jwt-secret", testSecret, "--cors-origins", "https://app.example.com"}, more...)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	n := &edgeNode{t: t, lines: &lockedBuffer{}}
	n.testNode = runNode(t, patientApp(cfg, slog.New(slog.NewJSONHandler(n.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	n.do(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	n.do(t, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1000))})
	other, err := connectSocketIO(t.Context(), n.addr, "other")
	if err != nil {
		t.Fatal(err)
	}
	n.other = overhear(t.Context(), other)
	t.Cleanup(func() {
		_ = other.CloseNow()
		for range n.other { // until it has ended
		}
	})
	return n
}

// unharmed checks that the other client gets the next event.
func (n *edgeNode) unharmed() {
	n.t.Helper()
	n.sales++
	reason := fmt.Sprintf("sale-%d", n.sales)
	_, err := n.app.bus.Do(n.t.Context(), domain.Command{
		ID: reason, Type: domain.CommandAdjustStock, BranchID: "b1", Identity: domain.Identity{UserID: "root", Role: domain.RoleAdmin},
		At: time.Now(), Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: reason},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if message := <-n.other; !strings.Contains(message, reason) {
		n.t.Fatalf("the other client got %.100q, want the event of %s", message, reason)
	}
}

// overhear gives what a client hears until its connection ends, and answers its
// pings.
func overhear(ctx context.Context, conn *websocket.Conn) <-chan string {
	heard := make(chan string)
	go func() {
		defer close(heard)
		for {
			_, message, err := conn.Read(ctx)
			if err == nil && string(message) == "2" {
				if err = conn.Write(ctx, websocket.MessageText, []byte("3")); err == nil {
					continue
				}
			}
			if err != nil {
				return
			}
			select {
			case heard <- string(message):
			case <-ctx.Done():
				return
			}
		}
	}()
	return heard
}

// metric is a series' value on /metrics, as text.
func (n *edgeNode) metric(series string) string {
	n.t.Helper()
	res, err := http.Get("http://" + n.addr + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			return value
		}
	}
	return "none"
}

// counted waits until a series has another value than before: a connection may
// be closed a moment before it is counted.
func (n *edgeNode) counted(series, before string) {
	n.t.Helper()
	for deadline := time.Now().Add(patience); n.metric(series) == before; {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s is %s as before, want it counted", series, before)
		}
	}
}

// await begins a part of what is said that is not said: what follows is waited
// for in the answer. awaitSession waits until a namespace is joined.
const (
	await        = "await "
	awaitSession = await + `["session"`
)

// say sends the parts and reads until the server closes or says that it does.
func (n *edgeNode) say(parts ...string) string {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		n.t.Fatal(err)
	}
	var answer []byte
	readUntil := func(found func() bool) error {
		for buffer := make([]byte, 4096); !found(); {
			got, err := conn.Read(buffer)
			if answer = append(answer, buffer[:got]...); err != nil {
				return err
			}
		}
		return nil
	}
	for _, part := range parts {
		if text, wait := strings.CutPrefix(part, await); wait {
			err = readUntil(func() bool { return bytes.Contains(answer, []byte(text)) })
		} else {
			_, err = io.WriteString(conn, part)
		}
		if err != nil { // it has heard enough
			break
		}
	}
	err = readUntil(func() bool { return bytes.HasSuffix(answer, []byte{0x88, 0}) })
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		n.t.Errorf("the server has not closed; it said %.200q", answer)
	}
	return string(answer)
}

const (
	// marker is in every payload of the attacks and may be in no line of the log.
	marker = "payload-not-for-logs"

	edgeGet     = "GET /socket.io/?%s HTTP/1.1\r\nHost: node\r\nConnection: close\r\nX-Note: " + marker + "\r\n%s\r\n"
	edgeUpgrade = "GET %s HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n"
)

// clientText is a client's text frame, masked with zeros.
func clientText(text string) string {
	return string([]byte{0x81, 0xfe, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}) + text
}

// What strangers do at the sockets' edge is refused or cut off, is counted by
// its reason, leaves no token and no payload in the log, and harms no other
// client.
func TestEdge_attacks_are_counted_and_harm_nobody_else(t *testing.T) {
	n := startEdgeNode(t)
	token := signed("mallory", domain.RoleStaff, "b1")
	get := func(query string, headers ...string) []string {
		return []string{fmt.Sprintf(edgeGet, query, strings.Join(headers, ""))}
	}
	socket := func(frames ...string) []string {
		return append([]string{fmt.Sprintf(edgeUpgrade, "/socket.io/?EIO=4&transport=websocket", "")}, frames...)
	}
	joined := func(frames ...string) []string {
		return socket(append([]string{clientText(`40/ws,{"token":"` + token + `"}`), awaitSession}, frames...)...)
	}
	refused := func(reason string) string {
		return `bms_connect_refusals_total{protocol="socket.io",reason="` + reason + `"}`
	}
	closed := func(reason string) string {
		return `bms_engineio_sessions_closed_total{reason="` + reason + `",transport="websocket"}`
	}
	for name, c := range map[string]struct {
		send   []string
		says   string // in the answer
		series string
	}{
		"eio_3":               {get("EIO=3&transport=polling"), "400 Bad Request", refused("unsupported version")},
		"transport_proto":     {get("EIO=4&transport=__proto__"), "400 Bad Request", refused("unknown transport")},
		"foreign_sid":         {get("EIO=4&transport=polling&sid=" + marker), "400 Bad Request", refused("unknown session")},
		"look_alike_origin":   {get("EIO=4&transport=polling", "Origin: https://app.example.com.evil\r\n"), "403 Forbidden", refused("forbidden origin")},
		"2000_headers":        {get("EIO=4&transport=polling", strings.Repeat("A: b\r\n", 2000)), "431 ", ""},
		"subprotocols":        {[]string{fmt.Sprintf(edgeUpgrade, "/ws", "Sec-WebSocket-Protocol: bms.v1.json"+strings.Repeat(", bearer."+marker, 5000)+"\r\n")}, "431 ", ""},
		"subprotocols_engine": {[]string{fmt.Sprintf(edgeUpgrade, "/socket.io/?EIO=4&transport=websocket", "Sec-WebSocket-Protocol: x"+strings.Repeat(", "+marker, 5000)+"\r\n")}, "431 ", ""},
		"event_early":         {socket(clientText(`42/ws,["` + marker + `"]`)), "101 ", closed("parse error")},
		"never_a_connect":     {socket(strings.Repeat(clientText("6"), 1000)), "101 ", closed("rate exceeded")},
		"wrong_token":         {socket(clientText(`40/ws,{"token":"`+token+`x"}`), await+`"code":`, clientText("9")), `"code":"unauthorized"`, refused("unauthorized")},
		"broken_packet":       {joined(clientText(`42/ws,["command",{"note":"` + marker + `"`)), "101 ", `bms_disconnects_total{namespace="/ws",protocol="socket.io",reason="parse error"}`},
		"forged_placeholder":  {joined(clientText(`451-/ws,["`+marker+`",{"_placeholder":true,"num":9}]`), "\x82\x81\x00\x00\x00\x00x"), "101 ", `bms_disconnects_total{namespace="/ws",protocol="socket.io",reason="parse error"}`},
		"flood":               {joined(strings.Repeat(clientText(`42/ws,["`+marker+`"]`), 10_000)), "101 ", `bms_disconnects_total{namespace="/ws",protocol="socket.io",reason="rate exceeded"}`},
		"reserved_bits":       {joined("\xf1\x80\x00\x00\x00\x00"), "101 ", `bms_disconnects_total{namespace="/ws",protocol="socket.io",reason="transport error"}`},
	} {
		t.Run(name, func(t *testing.T) {
			before := ""
			if c.series != "" {
				before = n.metric(c.series)
			}
			if answer := n.say(c.send...); !strings.Contains(answer, c.says) {
				t.Errorf("answer %.300q, want %q in it", answer, c.says)
			}
			n.unharmed()
			if c.series != "" {
				n.counted(c.series, before)
			}
		})
	}
	n.stop()
	for what, secret := range map[string]string{"payload": marker, "token": token[:40], "signature": token[len(token)-20:]} {
		if at := strings.Index(n.lines.String(), secret); at >= 0 {
			t.Errorf("%s in the log: %.300q", what, n.lines.String()[max(0, at-200):])
		}
	}
}

// Thousands of headers that never end are nobody else's concern, and end.
func TestEdge_slow_headers_are_closed(t *testing.T) {
	n := startEdgeNode(t)
	const many = 2000
	var slow sync.WaitGroup
	for range many {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		slow.Go(func() {
			defer conn.Close()
			_, _ = io.Copy(io.Discard, conn) // until the server closes
		})
	}
	n.unharmed()
	slow.Wait()
	n.unharmed()
}
