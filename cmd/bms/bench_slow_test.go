package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// slowClients are the clients of BenchmarkSlowReaders, of whom a tenth are slow.
// SLOW_FOR says for how many seconds.
const (
	slowClients = 500
	slowFor     = 5
)

// BenchmarkSlowReaders is what clients that read slowly or not at all do to the
// others and to the node's memory: a room of 500, full load, a tenth of them
// slow in one of four ways and then going on. Latency is command→socket of one
// that reads, without and with the slow ones; at the end every client must have
// got every event, once.
func BenchmarkSlowReaders(b *testing.B) {
	seconds := fromEnv(b, "SLOW_FOR", slowFor)
	for b.Loop() {
		for _, slow := range []int{0, slowClients / 10} {
			slowReaders(b, slow, time.Duration(seconds)*time.Second)
		}
	}
}

func slowReaders(b *testing.B, slow int, load time.Duration) {
	node := startNode(b, b.TempDir())
	defer node.stop()
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	node.do(b, domain.CommandCreateProduct, "b1", domain.CreateProduct{
		ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
	})
	clients := startChild(b, "slow-readers", node.addr, strconv.Itoa(slowClients-1), strconv.Itoa(slow))
	clients.expect(b, "connected")
	live, err := dialRaw(node.addr, "live", "")
	if err != nil {
		b.Fatal(err)
	}
	defer live.conn.Close()

	var sent atomic.Int64
	adjust := func() error {
		_, err := node.app.bus.Do(b.Context(), domain.Command{
			ID: fmt.Sprint(sent.Add(1)), Type: domain.CommandAdjustStock, BranchID: "b1",
			Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(),
			Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "count"},
		})
		return err
	}
	rss, _, _ := memory(b)
	end := time.Now().Add(load)
	var senders errgroup.Group
	for range 4 {
		senders.Go(func() error {
			for time.Now().Before(end) {
				if err := adjust(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	// One that reads: how old is what it gets?
	var ages []time.Duration
	peak := rss
	received := 0
	for time.Now().Before(end) {
		start := time.Now()
		if err := adjust(); err != nil {
			b.Fatal(err)
		}
		mine := int(sent.Load()) // no later than this one's number
		if _, err := live.events(max(1, mine-received)); err != nil {
			b.Fatal(err)
		}
		received += max(1, mine-received)
		ages = append(ages, time.Since(start))
		peak = max(peak, resident(b))
	}
	if err := senders.Wait(); err != nil {
		b.Fatal(err)
	}
	clients.say(sent.Load())
	var resumed int
	if line := clients.line(b); !strings.HasPrefix(line, "all have all") {
		b.Fatalf("the clients say %q, want that all have all", line)
	} else if _, err := fmt.Sscanf(line, "all have all, %d resumed", &resumed); err != nil {
		b.Fatal(err)
	}
	clients.wait(b)
	b.ReportMetric(float64(resumed), fmt.Sprintf("%d-slow-resumes", slow))
	slices.Sort(ages)
	name := fmt.Sprintf("%d-slow", slow)
	b.ReportMetric(float64(ages[len(ages)/2].Microseconds())/1000, name+"-p50-ms")
	b.ReportMetric(float64(ages[len(ages)*99/100].Microseconds())/1000, name+"-p99-ms")
	b.ReportMetric(float64(peak-rss)/1e6, name+"-grows-MB")
	b.ReportMetric(float64(sent.Load()), name+"-events")
}

// runSlowClients is the process of the clients, of args "address clients slow":
// it connects them, of whom the first are slow, each in one of slowWays, until a
// number comes on stdin: that of the events that each of them is to have got
// then. Whoever is thrown out comes back with its cursor.
func runSlowClients(args []string) error {
	var addr string
	var count, slow int
	if err := arguments(args, &addr, &count, &slow); err != nil {
		return err
	}
	if err := givePrecedence(); err != nil {
		return err
	}
	hurry := make(chan struct{}) // closed when the slow ones are to go on
	got := make([]atomic.Int64, count)
	var returns atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var reading, connecting errgroup.Group
	connecting.SetLimit(16)
	for i := range count {
		way := readAll
		if i < slow {
			way = slowWays[i%len(slowWays)]
		}
		connecting.Go(func() error {
			user := "u" + strconv.Itoa(i)
			reader, err := way(addr, user, "")
			if err != nil {
				return err
			}
			reading.Go(func() error {
				for {
					cursor, _ := reader(hurry, &got[i]) // however it was cut off
					if ctx.Err() != nil {
						return nil
					}
					var err error
					if reader, err = way(addr, user, cursor); err != nil {
						return fmt.Errorf("%s comes back at %q: %w", user, cursor, err)
					}
					returns.Add(1)
				}
			})
			return nil
		})
	}
	if err := connecting.Wait(); err != nil {
		return err
	}
	fmt.Println("connected")
	var total int64
	if _, err := fmt.Scanln(&total); err != nil {
		return err
	}
	close(hurry)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		missing, more := 0, 0
		for i := range got {
			switch n := got[i].Load(); {
			case n < total:
				missing++
			case n > total:
				more++
			}
		}
		if more > 0 || missing > 0 && time.Now().After(deadline) {
			return fmt.Errorf("%d clients have too few of %d events, %d too many", missing, total, more)
		}
		if missing == 0 {
			break
		}
	}
	fmt.Println("all have all,", returns.Load(), "resumed")
	return nil
}

// reader counts the events that it reads, until the connection ends, and
// returns the position of the last of them. A slow one reads as fast as it can
// once hurry is closed.
type reader func(hurry <-chan struct{}, got *atomic.Int64) (cursor string, err error)

// slowWays are those in which a client is slow: it reads nothing, over either
// protocol; a byte a second; it polls every twenty seconds.
var slowWays = []func(addr, user, cursor string) (reader, error){readNothing, readNothingPlain, readByTheByte, pollRarely}

func readAll(addr, user, cursor string) (reader, error) {
	c, err := dialRaw(addr, user, cursor)
	return func(_ <-chan struct{}, got *atomic.Int64) (string, error) { return c.readOn(got) }, err
}

// readOn reads until the connection ends.
func (c *rawClient) readOn(got *atomic.Int64) (string, error) {
	defer c.conn.Close()
	for {
		if _, err := c.events(1); err != nil {
			return c.cursor, err
		}
		got.Add(1)
	}
}

func readNothing(addr, user, cursor string) (reader, error) {
	return stuck(dialRaw(addr, user, cursor))
}

func readNothingPlain(addr, user, cursor string) (reader, error) {
	return stuck(dialRawPlain(addr, user, cursor))
}

func stuck(c *rawClient, err error) (reader, error) {
	return func(hurry <-chan struct{}, got *atomic.Int64) (string, error) {
		<-hurry
		return c.readOn(got)
	}, err
}

func readByTheByte(addr, user, cursor string) (reader, error) {
	c, err := dialRaw(addr, user, cursor)
	return func(hurry <-chan struct{}, got *atomic.Int64) (string, error) {
		c.in = bufio.NewReaderSize(&trickle{c.conn, c.in, hurry}, 16<<10)
		return c.readOn(got)
	}, err
}

// trickle reads a byte a second. What was read ahead of it comes first.
type trickle struct {
	conn  net.Conn
	ahead *bufio.Reader
	hurry <-chan struct{}
}

func (t *trickle) Read(p []byte) (int, error) {
	if n := t.ahead.Buffered(); n > 0 {
		return t.ahead.Read(p[:min(n, len(p))])
	}
	select {
	case <-t.hurry:
		return t.conn.Read(p)
	case <-time.After(time.Second):
		return t.conn.Read(p[:1])
	}
}

// pollRarely polls over HTTP, every twenty seconds.
func pollRarely(addr, user, cursor string) (reader, error) {
	p := poller{http: &http.Client{Transport: &http.Transport{}}, base: "http://" + addr + "/socket.io/?EIO=4&transport=polling", cursor: cursor}
	body, err := p.get()
	if err != nil {
		return nil, err
	}
	var open struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(body, "0")), &open); err != nil {
		return nil, fmt.Errorf("open packet %q: %w", body, err)
	}
	p.base += "&sid=" + open.SID
	if err := p.post(`40/ws,{"token":"` + staffToken(user) + `","since":"` + cursor + `"}`); err != nil {
		return nil, err
	}
	for joined := false; !joined; {
		if body, err = p.get(); err != nil {
			return nil, err
		}
		joined = p.take(body, new(atomic.Int64)) > 0 // the session
	}
	return p.poll, nil
}

// poller is a client over HTTP long-polling.
type poller struct {
	http   *http.Client
	base   string
	cursor string
}

func (p *poller) poll(hurry <-chan struct{}, got *atomic.Int64) (string, error) {
	defer p.http.CloseIdleConnections()
	for {
		select {
		case <-hurry:
		case <-time.After(20 * time.Second):
		}
		body, err := p.get()
		if err != nil {
			return p.cursor, err
		}
		p.take(body, got)
		for packet := range strings.SplitSeq(body, "\x1e") {
			switch packet {
			case "1":
				return p.cursor, io.EOF
			case "2":
				if err := p.post("3"); err != nil {
					return p.cursor, err
				}
			}
		}
	}
}

// take counts the events of a body and keeps the cursor.
func (p *poller) take(body string, got *atomic.Int64) (events int) {
	for packet := range strings.SplitSeq(body, "\x1e") {
		if strings.HasPrefix(packet, "42") {
			events++
			got.Add(1)
			i := strings.LastIndex(packet, `"pos":"`) + len(`"pos":"`)
			p.cursor = packet[i : i+domain.PositionLen]
		}
	}
	return events
}

func (p *poller) get() (string, error) {
	return p.do(http.NewRequest(http.MethodGet, p.base+"&t="+strconv.FormatInt(time.Now().UnixNano(), 36), nil))
}

func (p *poller) post(body string) error {
	_, err := p.do(http.NewRequest(http.MethodPost, p.base, strings.NewReader(body)))
	return err
}

func (p *poller) do(r *http.Request, err error) (string, error) {
	if err != nil {
		return "", err
	}
	res, err := p.http.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}
