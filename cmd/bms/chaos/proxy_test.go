package chaos_test

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy hands connections on to a node, as bad networks do.
//
//	client ──> pipe ──> node      a pipe is two connections and their weather
type proxy struct {
	listener net.Listener
	addr     func() string // the node's
	pipes    sync.Map      // *pipe → struct{}
	open     sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
}

// weather is what a pipe does to the bytes.
type weather int32

const (
	fair   weather = iota
	stall          // nothing passes, and nothing is lost
	delay          // every chunk is late
	hole           // what comes is thrown away; nobody is told
	oneWay         // what the node sends is thrown away, the client is heard
)

type pipe struct {
	client, node net.Conn
	weather      atomic.Int32
	cleared      atomic.Pointer[chan struct{}] // closed when the weather changes
}

func newProxy(addr func() string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, addr: addr}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.open.Go(p.accept)
	return p, nil
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.open.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	node, err := net.Dial("tcp", p.addr())
	if err != nil {
		reset(client)
		return
	}
	defer node.Close()
	w := &pipe{client: client, node: node}
	changed := make(chan struct{})
	w.cleared.Store(&changed)
	p.pipes.Store(w, struct{}{})
	defer p.pipes.Delete(w)
	stop := context.AfterFunc(p.ctx, w.cut)
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { w.copy(node, client, false) })
	both.Go(func() { w.copy(client, node, true) })
	both.Wait()
}

// copy hands on bytes until either end is gone. The other one is then cut, as a
// killed process' connections are.
func (w *pipe) copy(to, from net.Conn, down bool) {
	defer w.cut()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for {
			changed := *w.cleared.Load()
			now := weather(w.weather.Load())
			if now == stall {
				<-changed
				continue
			}
			if now == delay {
				select {
				case <-time.After(time.Duration(20+rand.IntN(200)) * time.Millisecond):
				case <-changed:
				}
			}
			if now == hole || now == oneWay && down {
				n = 0
			}
			break
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if weather(w.weather.Load()) == hole {
				<-*w.cleared.Load() // nobody hears of the end either
			}
			return
		}
	}
}

// set changes the weather. Of a pipe that has thrown bytes away nothing good can
// come any more: it stays as it is until it is cut.
func (w *pipe) set(now weather) {
	switch weather(w.weather.Load()) {
	case hole, oneWay:
		return
	}
	w.change(now)
}

func (w *pipe) change(now weather) {
	changed := make(chan struct{})
	w.weather.Store(int32(now))
	close(*w.cleared.Swap(&changed))
}

// cut ends both connections at once.
func (w *pipe) cut() {
	w.change(fair)
	reset(w.client)
	reset(w.node)
}

// reset closes a connection without a good-bye.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// some applies f to each pipe with the given probability.
func (p *proxy) some(random *rand.Rand, share float64, f func(*pipe)) (hit int) {
	p.pipes.Range(func(w, _ any) bool {
		if random.Float64() < share {
			f(w.(*pipe))
			hit++
		}
		return true
	})
	return hit
}

// heal makes all pipes fair; what was lost in a hole stays lost, so those are
// cut.
func (p *proxy) heal() {
	p.pipes.Range(func(key, _ any) bool {
		w := key.(*pipe)
		switch weather(w.weather.Load()) {
		case fair:
		case hole, oneWay:
			w.cut()
		default:
			w.set(fair)
		}
		return true
	})
}

func (p *proxy) close() {
	p.listener.Close()
	p.cancel()
	p.open.Wait()
}
