package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog"
)

// A backup is the log and nothing else, for all else is made of it, or belongs
// to one node: read models are folded anew, signing keys are the operator's (or
// --dev's), and what sockets had joined is gone after a restore, as after any
// other long absence.

// backupNotes is the manifest's notes: what two logs can be compared by.
type backupNotes struct {
	Digests []projections.ProjectionDigest `json:"digests"`
}

func backupCommand() (*flagSet, runFunc) {
	f := newFlagSet("backup")
	f.operands = []string{"FILE"}
	dataDir := f.String("data", "./data", "data `folder`; a node may be serving from it")
	return f, func(ctx context.Context, stdout, stderr io.Writer) error {
		return backup(ctx, *dataDir, f.operand(0), stdout, stderr)
	}
}

func backup(ctx context.Context, dataDir, file string, stdout, stderr io.Writer) (err error) {
	reader, err := eventlog.OpenReadOnly(ctx, dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	digests, err := projections.NotedDigests(projectionsDir(dataDir), reader.Head())
	if err != nil {
		return err
	}
	notes, err := json.Marshal(backupNotes{Digests: digests})
	if err != nil {
		return err
	}
	m := newMeter(stderr, "backup", time.Now)
	manifest, err := reader.Backup(ctx, eventlog.BackupConfig{File: file, Notes: notes, Progress: m.tell})
	took := m.end()
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d commits up to %s, %.1f MB, in %s (%.0f commits/s)\n",
		file, manifest.Commits, manifest.Head, float64(info.Size())/1e6, round(took), perSecond(manifest.Commits, took))
	return err
}

func restoreCommand() (*flagSet, runFunc) {
	f := newFlagSet("restore")
	f.operands = []string{"FILE"}
	dataDir := f.String("data", "./data", "data `folder` to be made, or an empty one")
	return f, func(ctx context.Context, stdout, stderr io.Writer) error {
		return restore(ctx, f.operand(0), *dataDir, stdout, stderr)
	}
}

func restore(ctx context.Context, file, dataDir string, stdout, stderr io.Writer) error {
	m := newMeter(stderr, "restore", time.Now)
	manifest, head, err := eventlog.Restore(ctx, eventlog.RestoreConfig{File: file, Dir: dataDir, Progress: m.tell})
	took := m.end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d commits up to %s, backed up %s, in %s (%.0f commits/s)\nThe log goes on from %s; read models are made at the next start.\n",
		dataDir, manifest.Commits, manifest.Head, manifest.CreatedAt.Format(domain.TimestampFormat), round(took), perSecond(manifest.Commits, took), head)
	return err
}

func perSecond(n uint64, took time.Duration) float64 { return float64(n) / max(took.Seconds(), 1e-9) }

// round leaves of a time what people read.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
