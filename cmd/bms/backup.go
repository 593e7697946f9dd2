package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog"
	"bms/transport/sessions"
)

// A backup is the log, and what lets clients go on after a restore where they
// were: the key of their private session ids and what they changed of their
// rooms. All else is made of the log, or belongs to one node: read models are
// folded anew, keys of tokens are the operator's (or --dev's).

// backupNotes is the manifest's notes.
type backupNotes struct {
	// Digests are what two logs can be compared by.
	Digests []projections.ProjectionDigest `json:"digests"`
	// SessionKey is that of sessionIDs, and a secret.
	SessionKey []byte         `json:"sessionKey,omitempty"`
	Sessions   *sessions.Copy `json:"sessions,omitempty"`
}

// maxSessionBytes bounds the sessions in a backup, those changed last first. It
// is room for some tens of thousands.
const maxSessionBytes = 8 << 20

// takeNotes gathers the notes of a backup.
func takeNotes(ctx context.Context, dataDir string, head domain.Position) (notes backupNotes, err error) {
	if notes.Digests, err = projections.NotedDigests(projectionsDir(dataDir), head); err != nil {
		return notes, err
	}
	if notes.SessionKey, err = os.ReadFile(filepath.Join(dataDir, sessionKeyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return notes, fmt.Errorf("back up the session key: %w", err)
	}
	notes.Sessions, err = sessions.Export(ctx, dataDir, maxSessionBytes)
	return notes, err
}

// restoreNotes puts into a restored folder what does not follow from the log.
func restoreNotes(ctx context.Context, raw json.RawMessage, dataDir string) error {
	var notes backupNotes
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &notes); err != nil {
		return fmt.Errorf("notes of the backup: %w", err)
	}
	if len(notes.SessionKey) > 0 {
		if err := os.WriteFile(filepath.Join(dataDir, sessionKeyFile), notes.SessionKey, 0o600); err != nil {
			return fmt.Errorf("restore the session key: %w", err)
		}
	}
	if notes.Sessions == nil {
		return nil
	}
	return sessions.Import(ctx, dataDir, notes.Sessions)
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
	taken, err := takeNotes(ctx, dataDir, reader.Head())
	if err != nil {
		return err
	}
	notes, err := json.Marshal(taken)
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
	if err != nil && !errors.Is(err, eventlog.ErrNotSynced) {
		return err
	}
	if notesErr := restoreNotes(ctx, manifest.Notes, dataDir); notesErr != nil {
		err = errors.Join(err, fmt.Errorf("%s holds the restored log and can be served, but clients will have to read anew: %w", dataDir, notesErr))
	}
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
