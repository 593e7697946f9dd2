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

// switchLevel has SIGUSR1 change the level to debug, and back to what --log-level
// said at the next, until stop is called. Where there is no such signal it does
// nothing.
func switchLevel(level *slog.LevelVar, logger *slog.Logger) (stop func()) {
	if levelSignal == nil {
		return func() {}
	}
	signals, stopped, done := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, levelSignal)
	configured := level.Level()
	go func() {
		defer close(done)
		for {
			select {
			case <-stopped:
				return
			case <-signals:
			}
			next := slog.LevelDebug
			if level.Level() == slog.LevelDebug {
				next = max(configured, slog.LevelInfo)
			}
			level.Set(next)
			// At a level that is seen.
			logger.Log(context.Background(), max(next, slog.LevelInfo), "log level changed by a signal", "logLevel", next.String())
		}
	}()
	return func() {
		signal.Stop(signals)
		close(stopped)
		<-done
	}
}
