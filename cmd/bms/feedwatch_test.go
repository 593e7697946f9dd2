package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// sickLog is a log whose end can't be followed: with an error, or without any
// answer.
type sickLog struct {
	*eventlogtest.Memory
	mu  sync.Mutex // guards how
	how error      // nil: it is well
}

var errHangs = errors.New("hangs")

func (l *sickLog) fall(how error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.how = how
}

func (l *sickLog) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	commits, err := l.Memory.Next(ctx, after, limit)
	l.mu.Lock()
	how := l.how
	l.mu.Unlock()
	switch {
	case how == nil || err != nil:
		return commits, err
	case errors.Is(how, errHangs):
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		return nil, how
	}
}

// The feed says nothing of how it is while it waits for the log: both ways to
// stand still are reasons not to be given clients, and end.
func TestFeed_that_stands_still_is_no_ready_node(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &sickLog{Memory: eventlogtest.NewMemory()}
		logger := slog.New(slog.DiscardHandler)
		system, err := actors.NewSystem(logger)
		if err != nil {
			t.Fatal(err)
		}
		hub, err := actors.NewHub(actors.HubConfig{System: system, Log: log, Codecs: []actors.Codec{plainEncoder{}}, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		s := &sockets{hub: hub, logger: logger, watch: &feedWatch{
			log: func() uint64 { return log.Head().Seq }, feed: func() uint64 { return hub.Head().Seq }, now: time.Now,
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- hub.Run(ctx) }()
		version := uint64(0)
		// wait lets time pass, with a commit and a look in each second.
		wait := func(seconds int, commits bool) {
			for range seconds {
				if commits {
					version++
					if err := log.Append(ctx, &domain.Commit{Stream: "x", Version: version, CommandID: fmt.Sprint(version), At: time.Now()}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second) // in fake time
				synctest.Wait()
				s.watch.look()
			}
		}
		ready := func(when, reason string) {
			t.Helper()
			got := strings.Join(s.unready(), "; ")
			if reason == "" && got != "" || !strings.Contains(got, reason) {
				t.Errorf("%s: unready because of %q, want %q", when, got, reason)
			}
		}
		wait(30, true)
		ready("well", "")
		wait(60, false)
		ready("at rest", "")
		log.fall(fmt.Errorf("%w: flipped", domain.ErrCorrupt))
		wait(2, true)
		ready("with an error", "the feed stands still: log is corrupt: flipped")
		log.fall(nil)
		wait(2, false)
		ready("after the error", "")
		log.fall(errHangs)
		wait(5, true)
		ready("for a moment", "")
		wait(10, true)
		ready("hanging", "commits before the end of the log")
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		hub.Close()
	})
}
