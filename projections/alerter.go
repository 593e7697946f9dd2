package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"bms/domain"
)

// alertBatch is the number of alerts appended at once.
const alertBatch = 256

// alerter is the alerts process: it appends the alerts of pending causes to the
// log, in the order of the causes. The log takes each at most once, for its
// command id is made from its cause; what was appended shows in the fold of the
// alerts, which then drops the cause. It appends only while that fold is live:
// a rebuild emits nothing.
type alerter struct {
	config Config
	logger *slog.Logger
	alerts *runner
	news   chan struct{} // 1 place

	rewinds sync.Mutex // held while older causes may be coming; guards again
	again   bool       // older causes may have come

	// through is the key of the last cause whose alert this process knows to
	// be in the log, whether or not the fold has come to it.
	through int64
	// versions are those of the last alerts in their streams, by branch, as
	// far as known here; one for each branch that has had one.
	versions map[string]uint64
}

func newAlerter(c Config, alerts *runner) *alerter {
	return &alerter{
		config: c, logger: c.Logger.With("process", "alerts"), alerts: alerts,
		news: make(chan struct{}, 1), versions: map[string]uint64{},
	}
}

// wake tells that there may be new pending causes. It never blocks.
func (a *alerter) wake() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// rewinding tells that causes before the last are coming, of parked commits or
// in a rebuilt file, until what it returns is called. Nothing is read meanwhile:
// of a branch's causes the later ones might be found alone, and their alerts would
// settle the earlier. Those whose alert is in the log already are found to be
// duplicates by it.
func (a *alerter) rewinding() (rewound func()) {
	a.rewinds.Lock()
	return func() {
		a.again = true
		a.rewinds.Unlock()
		a.wake()
	}
}

// run appends until ctx ends. What goes wrong is tried again, less and less
// often.
func (a *alerter) run(ctx context.Context) {
	backoff := minBackoff
	for {
		select {
		case <-a.news:
		case <-ctx.Done():
			return
		}
		if err := a.drain(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			a.logger.Error("append low-stock alerts", "error", err, "retry", backoff)
			pause(ctx, backoff)
			backoff = min(2*backoff, maxBackoff)
			a.wake()
			continue
		}
		backoff = minBackoff
	}
}

// drain appends what is pending.
func (a *alerter) drain(ctx context.Context) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			a.logger.Error("panic in the alerts process", "reason", reason, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in the alerts process: %v", reason)
		}
	}()
	for {
		if !a.alerts.progress.isLive() {
			return nil // it wakes us when it is
		}
		causes, err := a.pending(ctx)
		if err != nil || len(causes) == 0 {
			return err
		}
		if err := a.append(ctx, causes); err != nil {
			return err
		}
	}
}

// cause is a pending cause and its alert.
type cause struct {
	key   int64
	event domain.Event // branch and position only
	alert domain.LowStockAlert
	// metadata is that of the cause's commit.
	metadata map[string]string
}

// pending reads causes not dealt with yet, and the versions of their streams.
func (a *alerter) pending(ctx context.Context) ([]cause, error) {
	a.rewinds.Lock()
	defer a.rewinds.Unlock()
	if a.again {
		a.again, a.through = false, 0
	}
	var causes []cause
	_, err := a.alerts.view(ctx, func(v *snapshot) error {
		return v.query(ctx, func(r row) error {
			c := cause{key: r.int(0), event: domain.Event{BranchID: r.text(1), Pos: v.at(r.int(0))}}
			if err := json.Unmarshal([]byte(r.text(2)), &c.alert); err != nil {
				return fmt.Errorf("decode the alert for %s: %w", c.event.Pos, err)
			}
			if err := decodeMetadata(r.text(4), &c.metadata); err != nil {
				return err
			}
			causes = append(causes, c)
			a.versions[c.event.BranchID] = max(a.versions[c.event.BranchID], uint64(r.int(3)))
			return nil
		}, "SELECT pos, pending.branch, alert, version, metadata FROM pending LEFT JOIN streams USING (branch) WHERE pos > ? AND "+unsettled+" ORDER BY pos LIMIT ?", a.through, int64(alertBatch))
	})
	return causes, err
}

// append appends the alerts of causes, all at once if nothing is in the way.
func (a *alerter) append(ctx context.Context, causes []cause) error {
	commits := make([]*domain.Commit, len(causes))
	next := map[string]uint64{}
	for i := range causes {
		branch := causes[i].event.BranchID
		next[branch] = max(next[branch], a.versions[branch]) + 1
		var err error
		if commits[i], err = a.commit(&causes[i], next[branch]); err != nil {
			return err
		}
	}
	a.config.step(Alerts, stepDerived)
	err := a.put(ctx, commits...)
	switch {
	case errors.Is(err, domain.ErrVersionConflict) || errors.Is(err, domain.ErrDuplicateCommand):
		return a.appendEach(ctx, causes)
	case err != nil:
		return fmt.Errorf("append %d alerts: %w", len(commits), err)
	}
	a.config.step(Alerts, stepAppended)
	for branch, version := range next {
		a.versions[branch] = version
	}
	a.done(causes, len(causes), 0)
	return nil
}

// appendEach appends one alert after the other: some are in the log already, or
// somebody else has appended to a stream.
func (a *alerter) appendEach(ctx context.Context, causes []cause) error {
	for i := range causes {
		c := &causes[i]
		branch := c.event.BranchID
		for appended := false; !appended; {
			commit, err := a.commit(c, a.versions[branch]+1)
			if err != nil {
				return err
			}
			err = a.put(ctx, commit)
			switch {
			case err == nil:
				a.versions[branch]++
				a.done(causes[i:i+1], 1, 0)
				appended = true
			case errors.Is(err, domain.ErrDuplicateCommand):
				if err := a.reload(ctx, branch); err != nil {
					return err
				}
				a.done(causes[i:i+1], 0, 1)
				appended = true
			case errors.Is(err, domain.ErrVersionConflict):
				before := a.versions[branch]
				if err := a.reload(ctx, branch); err != nil {
					return err
				}
				if a.versions[branch] == before {
					return fmt.Errorf("append the alert for %s as version %d of %s, which has no more: %w", c.event.Pos, before+1, commit.Stream, domain.ErrVersionConflict)
				}
			default:
				return fmt.Errorf("append the alert for %s: %w", c.event.Pos, err)
			}
		}
	}
	a.config.step(Alerts, stepAppended)
	return nil
}

func (a *alerter) commit(c *cause, version uint64) (*domain.Commit, error) {
	commit, err := domain.NewAlertCommit(version, a.config.Now(), &c.event, c.alert)
	if err != nil {
		return nil, err
	}
	commit.Metadata = c.metadata
	return commit, nil
}

// put appends commits.
func (a *alerter) put(ctx context.Context, commits ...*domain.Commit) error {
	ended := func(error) {}
	if a.config.Observe.Deriving != nil {
		ended = a.config.Observe.Deriving(commits)
	}
	err := a.config.Append.Append(ctx, commits...)
	ended(err)
	return err
}

// reload reads a branch's alerts on to their end.
func (a *alerter) reload(ctx context.Context, branch string) error {
	stream := domain.StreamOfAlerts(branch)
	for {
		commits, err := a.config.Log.ReadStream(ctx, stream, a.versions[branch], maxBatch)
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		if len(commits) == 0 {
			return nil
		}
		a.versions[branch] = commits[len(commits)-1].Version
	}
}

// done notes that the alerts of causes are in the log.
func (a *alerter) done(causes []cause, appended, duplicates int) {
	a.through = max(a.through, causes[len(causes)-1].key)
	if a.config.Observe.Alerted != nil {
		a.config.Observe.Alerted(appended, duplicates)
	}
}
