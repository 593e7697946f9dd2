//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"syscall"
	"testing"
)

// lines is a writer that hands on what is written to it.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestLogging_a_signal_changes_the_level_and_changes_it_back(t *testing.T) {
	for name, tt := range map[string]struct {
		configured slog.Level
		then       []slog.Level
	}{
		"info":  {slog.LevelInfo, []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelDebug}},
		"error": {slog.LevelError, []slog.Level{slog.LevelDebug, slog.LevelError}},
		"debug": {slog.LevelDebug, []slog.Level{slog.LevelInfo, slog.LevelDebug}},
	} {
		t.Run(name, func(t *testing.T) {
			var level slog.LevelVar
			level.Set(tt.configured)
			out := make(lines)
			stop := switchLevel(&level, newLogger(&serveConfig{logFormat: "text"}, out, &level))
			defer stop()
			for _, want := range tt.then {
				if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
					t.Fatal(err)
				}
				if line := <-out; !strings.Contains(line, "logLevel="+want.String()) {
					t.Errorf("logged %q, want the level %s", line, want)
				}
				if got := level.Level(); got != want {
					t.Errorf("level %s, want %s", got, want)
				}
			}
		})
	}
}

func TestLogging_is_json_or_text_from_its_level_on(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		json bool
		want int // lines
	}{
		"as_it_is":   {nil, true, 2},
		"dev":        {[]string{"--dev"}, false, 2},
		"dev_json":   {[]string{"--dev", "--log-format", "json"}, true, 2},
		"text":       {[]string{"--log-format", "text"}, false, 2},
		"everything": {[]string{"--log-level", "debug"}, true, 3},
		"warnings":   {[]string{"--log-level", "warn"}, true, 1},
		"nothing":    {[]string{"--log-level", "ERROR"}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			flags, cfg := serveFlags()
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			logger := newLogger(cfg, &out, cfg.logLevel)
			logger.Debug("one")
			logger.Info("two")
			logger.Warn("three")
			if got := strings.Count(out.String(), "\n"); got != tt.want {
				t.Errorf("%d lines, want %d: %s", got, tt.want, out.String())
			}
			line, _, _ := strings.Cut(out.String(), "\n")
			if got := json.Valid([]byte(line)); line != "" && got != tt.json {
				t.Errorf("JSON %v, want %v: %s", got, tt.json, line)
			}
		})
	}
	for _, args := range [][]string{{"--log-level", "loud"}, {"--log-level", "info+2"}, {"--log-format", "xml"}, {"--slow-command", "never"}} {
		flags, _ := serveFlags()
		if err := flags.Parse(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestOps_prints_rules_and_dashboard(t *testing.T) {
	for file, want := range map[string]string{"alerts.yml": "groups:", "dashboard.json": `"BMS Realtime"`, "passwd": ""} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"ops", file}, &stdout, &stderr)
		if ok := want != ""; (code == exitOK) != ok || !strings.Contains(stdout.String(), want) {
			t.Errorf("bms ops %s: exit code %d, %d bytes, %s", file, code, stdout.Len(), stderr.String())
		}
	}
}
