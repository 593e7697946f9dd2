package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"bms/transport/telemetry"
)

// newLogger logs to stderr as --log-format says; auto is text for people with
// --dev, else JSON. What is less than the level is not logged.
func newLogger(cfg *serveConfig, stderr io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(stderr, options)
	if cfg.logFormat == "text" || cfg.logFormat == "auto" && cfg.dev {
		h = slog.NewTextHandler(stderr, options)
	}
	return slog.New(telemetry.WithTrace(h))
}

// switchLevel changes the level to debug at each SIGUSR1, and back to what
// --log-level said at the next, until ctx ends. Where there is no such signal it
// does nothing.
func switchLevel(ctx context.Context, level *slog.LevelVar, logger *slog.Logger) {
	if levelSignal == nil {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, levelSignal)
	defer signal.Stop(signals)
	configured := level.Level()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		next := slog.LevelDebug
		if level.Level() == slog.LevelDebug {
			next = max(configured, slog.LevelInfo)
		}
		level.Set(next)
		// Seen at any level.
		logger.Log(ctx, max(next, slog.LevelInfo), "log level changed by SIGUSR1", "level", next.String())
	}
}
