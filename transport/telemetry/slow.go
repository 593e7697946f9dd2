package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"bms/domain"
)

// slowLines is how many slow commands a second are logged: where all are slow,
// some tell enough.
const slowLines = 5

// SlowCommands logs commands whose answer took long.
type SlowCommands struct {
	threshold time.Duration
	logger    *slog.Logger
	now       func() time.Time

	mu     sync.Mutex // guards what follows
	second time.Time
	lines  int // in that second
	silent int // since the last line
}

// NewSlowCommands logs commands that take at least threshold; 0 means none.
func NewSlowCommands(threshold time.Duration, logger *slog.Logger, now func() time.Time) *SlowCommands {
	return &SlowCommands{threshold: threshold, logger: logger, now: now}
}

// Note logs a command if it was slow. It is safe for concurrent use.
func (s *SlowCommands) Note(cmd *domain.Command, outcome string, took time.Duration) {
	if s.threshold == 0 || took < s.threshold {
		return
	}
	s.mu.Lock()
	if now := s.now(); now.Sub(s.second) >= time.Second {
		s.second, s.lines = now, 0
	}
	if s.lines >= slowLines {
		s.silent++
		s.mu.Unlock()
		return
	}
	s.lines++
	silent := s.silent
	s.silent = 0
	s.mu.Unlock()
	ctx, ok := sampled(cmd.Metadata) // for the line's traceId
	if !ok {
		ctx = context.Background()
	}
	s.logger.LogAttrs(ctx, slog.LevelWarn, "slow command", slog.String("type", cmd.Type), slog.String("branch", cmd.BranchID),
		slog.String("user", cmd.Identity.UserID), slog.String("command", cmd.ID), slog.String("outcome", outcome),
		slog.Duration("took", took), slog.Int("unlogged", silent))
}
