//go:build failpoints

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"modernc.org/sqlite"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/commandbus"
)

// failPoint is where this process kills itself with -9, as FAILPOINT=name:n in
// its environment says: the n-th time that it comes there.
//
//	command ─> accepted ─> appending ─> committing ─> appended ─> answered
//	event   ─> followed ─> fed ─> delivered ─> writing
//	fold    ─> folded ─> committed;  alert ─> derived ─> alerted
var failPoint = struct {
	name string
	left atomic.Int64
	held atomic.Bool // the feed stands still, for "answered"
}{}

// failPoints are all names that FAILPOINT may have.
var failPoints = map[string]bool{
	"accepted":   true, // by the bus, not yet with the actor
	"appending":  true, // decided, not yet with the log
	"committing": true, // in the log's transaction, before its commit
	"appended":   true, // durable, not yet answered
	"answered":   true, // and sent, while the feed has not seen it
	"followed":   true, // with the feed, in no tail
	"fed":        true, // in the tails, behind no head
	"delivered":  true, // pulled by a transport, not yet with its socket
	"writing":    true, // half of a write with the socket
	"folded":     true, // in a projection's transaction, before its commit
	"committed":  true, // after it
	"derived":    true, // an alert, not yet with the log
	"alerted":    true, // durable, not yet in the fold of the alerts
}

func init() {
	at := os.Getenv("FAILPOINT")
	if at == "" {
		return
	}
	name, count, _ := strings.Cut(at, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 || !failPoints[name] {
		fmt.Fprintf(os.Stderr, "FAILPOINT=%s: want a name and a count from 1 on\n", at)
		os.Exit(exitUsage)
	}
	failPoint.name = name
	failPoint.left.Store(n)
	if name == "committing" {
		sqlite.RegisterConnectionHook(failingConnection)
	}
}

// passing kills the process if it is to be killed here and now.
func passing(name string) {
	if failPoint.name == name && failPoint.left.Add(-1) == 0 {
		die()
	}
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // what comes next must not happen
}

// failingConnection has the commits of the log pass. Projections open theirs
// past the registered driver.
func failingConnection(conn sqlite.ExecQuerierContext, dsn string) error {
	if strings.Contains(dsn, "mode=ro") {
		return nil
	}
	conn.(sqlite.HookRegisterer).RegisterCommitHook(func() int32 {
		passing("committing")
		return 0
	})
	return nil
}

func failingBus(c commandbus.Config) commandbus.Config {
	submit := c.Submit
	c.Submit = func(cmd domain.Command, reply func(*domain.Commit, error)) {
		passing("accepted")
		submit(cmd, reply)
	}
	return c
}

func failingDeciders(c actors.DecidersConfig) actors.DecidersConfig {
	c.Log = failingLog{c.Log}
	return c
}

// failingLog is the log as the deciders have it.
type failingLog struct{ domain.Log }

func (l failingLog) Append(ctx context.Context, commits ...*domain.Commit) error {
	passing("appending")
	if failPoint.name == "answered" && failPoint.left.Add(-1) == 0 {
		failPoint.held.Store(true)
	}
	err := l.Log.Append(ctx, commits...)
	passing("appended")
	return err
}

func failingHub(c actors.HubConfig) actors.HubConfig {
	c.Log = failingFeed{c.Log, c.Log}
	fed, delivered := c.Fed, c.Delivered
	c.Fed = func(events int) {
		passing("fed")
		fed(events)
	}
	c.Delivered = func(d actors.Delivery) {
		passing("delivered")
		delivered(d)
	}
	return c
}

// failingFeed is the log as the feed has it.
type failingFeed struct {
	domain.Reader
	domain.Follower
}

func (l failingFeed) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	commits, err := l.Follower.Next(ctx, after, limit)
	if failPoint.held.Load() {
		select {}
	}
	passing("followed")
	return commits, err
}

func failingProjections(c projections.Config) projections.Config {
	c.FailAt(func(_, step string) {
		switch step {
		case "folded", "committed", "derived":
			passing(step)
		case "appended":
			passing("alerted")
		}
	})
	return c
}

func failingHandler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if failPoint.held.Load() && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/api/") {
			_ = http.NewResponseController(w).Flush()
			die()
		}
	})
}

func failingListener(l net.Listener) net.Listener { return listenerThatFails{l} }

type listenerThatFails struct{ net.Listener }

func (l listenerThatFails) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return connThatFails{c.(*net.TCPConn)}, nil
}

type connThatFails struct{ *net.TCPConn }

func (c connThatFails) Write(b []byte) (int, error) {
	if failPoint.name == "writing" && failPoint.left.Add(-1) == 0 {
		_, _ = c.TCPConn.Write(b[:len(b)/2])
		die()
	}
	return c.TCPConn.Write(b)
}
