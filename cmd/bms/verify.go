package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"bms/domain"
	"bms/domain/audit"
	"bms/projections"
	"bms/transport/eventlog"
)

// verifyConfig is what `bms verify` was told.
type verifyConfig struct {
	dataDir string
	alerts  string
	logOnly bool
}

func verifyCommand() (*flagSet, runFunc) {
	f, c := newFlagSet("verify"), &verifyConfig{}
	f.StringVar(&c.dataDir, "data", "./data", "data `folder`; a node may be serving from it")
	define(f, &c.alerts, "alerts", "any", oneOf("any", projections.RepeatEvery, projections.RepeatEscalation),
		"`which` low-stock changes must have an alert: as --alerts-repeat of the node, if that never was another; any, those that have one in either case")
	f.BoolVar(&c.logOnly, "log-only", false, "leave the read models out")
	return f, func(ctx context.Context, stdout, stderr io.Writer) error { return verify(ctx, c, stdout, stderr) }
}

// projectionsDir is where a node keeps its read models.
func projectionsDir(dataDir string) string { return filepath.Join(dataDir, "projections") }

// verify reads all of the log, up to where it ends at the beginning, and checks
// it; then its index and the read models' files. All that is wrong is printed, the
// error names the first of it.
func verify(ctx context.Context, c *verifyConfig, stdout, stderr io.Writer) (err error) {
	reader, err := eventlog.OpenReadOnly(ctx, c.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	began := time.Now()
	report, damage, err := auditLog(ctx, reader, c.alerts, stderr)
	if err != nil {
		return err
	}
	took := time.Since(began)
	first := ""
	wrong := func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if first == "" {
			first = line
		}
		fmt.Fprintln(stdout, "WRONG "+line)
	}
	for _, b := range report.Breaches {
		wrong("%s", b)
	}
	if more := report.Broken - int64(len(report.Breaches)); more > 0 {
		fmt.Fprintf(stdout, "WRONG and %d more\n", more)
	}
	if damage != nil {
		wrong("after %s: %v", report.Head, damage)
	}
	printReport(stdout, report, took)
	if damage == nil {
		if err := checkIndex(ctx, reader, stdout, wrong); err != nil {
			return err
		}
	}
	if damage == nil && !c.logOnly {
		checks, err := checkProjections(ctx, c.dataDir, reader, stderr)
		if err != nil {
			return err
		}
		for _, f := range checks {
			printCheck(stdout, f, wrong)
		}
	}
	if first != "" {
		return fmt.Errorf("%s", first)
	}
	return nil
}

// verifyBatch is how many commits are read at a time.
const verifyBatch = 2048

// auditLog runs the audit over a log. damage is what ended it early: the commit
// after the report's head can't be read.
func auditLog(ctx context.Context, reader *eventlog.ReadOnly, alerts string, stderr io.Writer) (report audit.Report, damage, err error) {
	config := audit.Config{}
	if alerts != "any" {
		config.Alerts = domain.AlertMode(alerts)
	}
	a, end := audit.New(config), reader.Head().Seq
	if end == 0 {
		end = math.MaxInt64 // it is empty, or its last commit can't be read
	}
	m := newMeter(stderr, "log", time.Now)
	defer m.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read := make(chan batch, 2) // the reader is this much ahead
	go func() {
		defer close(read)
		readLog(ctx, reader, end, read)
	}()
	for b := range read {
		if b.err != nil {
			damage = b.err
		}
		for _, commit := range b.commits {
			a.Commit(commit)
			m.tell(commit.Position.Seq, end)
		}
	}
	if err := ctx.Err(); err != nil {
		return report, nil, err
	}
	if damage != nil && !errors.Is(damage, domain.ErrCorrupt) {
		return report, nil, damage
	}
	return a.Finish(), damage, nil
}

// batch is what was read at once; err is after the commits.
type batch struct {
	commits []*domain.Commit
	err     error
}

// readLog reads up to a sequence, or the end, and up to the first commit that
// can't be read.
func readLog(ctx context.Context, reader domain.Reader, end uint64, out chan<- batch) {
	limit := verifyBatch
	for after := uint64(0); after < end; {
		commits, err := reader.Read(ctx, after, int(min(uint64(limit), end-after)))
		if errors.Is(err, domain.ErrCorrupt) && limit > 1 {
			limit = 1 // those before it are in the way of finding it
			continue
		}
		for _, c := range commits {
			_ = c.DecodePayloads() // who needs what can't be decoded says so
		}
		if err == nil && len(commits) == 0 {
			return
		}
		select {
		case out <- batch{commits, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		after = commits[len(commits)-1].Position.Seq
	}
}

// checkIndex compares what the log is looked up by with the log.
func checkIndex(ctx context.Context, reader *eventlog.ReadOnly, stdout io.Writer, wrong func(format string, args ...any)) error {
	covered, err := reader.CheckIndex(ctx)
	switch {
	case errors.Is(err, eventlog.ErrIndex):
		wrong("%v: stop the node and remove that file, it is made anew at the start", err)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintln(stdout, "index         is not there, the next start makes it")
	case err != nil:
		return err
	default:
		fmt.Fprintf(stdout, "index         agrees with the log up to commit %d\n", covered)
	}
	return nil
}

// checkProjections compares the read models with the log, by folds in a
// temporary folder.
func checkProjections(ctx context.Context, dataDir string, log domain.Reader, stderr io.Writer) (_ []projections.FileCheck, err error) {
	scratch, err := os.MkdirTemp("", "bms-verify-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	m := newMeter(stderr, "read models", time.Now)
	defer m.end()
	return projections.CheckFiles(ctx, projectionsDir(dataDir), log, scratch, m.tell)
}

func printReport(w io.Writer, r audit.Report, took time.Duration) {
	fmt.Fprintf(w, "log           %d commits, %d events, %d streams up to %s, in %s (%.0f events/s)\n",
		r.Commits, r.Events, r.Streams, r.Head, round(took), perSecond(uint64(r.Events), took))
	fmt.Fprintf(w, "  %d branches, %d products, %d transactions, %d users, %d alerts; %d transfers, %d units in transit\n",
		r.Branches, r.Products, r.Transactions, r.Users, r.Alerts, r.Transfers, r.InTransit)
	if r.Messages > 0 {
		fmt.Fprintf(w, "  %d messages of others, which nothing is known of\n", r.Messages)
	}
	if r.Pending > 0 {
		fmt.Fprintf(w, "  %d alerts or steps of transfers are to come\n", r.Pending)
	}
	if r.Unalerted > 0 {
		fmt.Fprintf(w, "  %d low-stock changes have no alert, as --alerts-repeat escalation has it\n", r.Unalerted)
	}
}

func printCheck(w io.Writer, f projections.FileCheck, wrong func(format string, args ...any)) {
	name := fmt.Sprintf("%s v%d", f.Name, f.Version)
	switch {
	case f.Err != nil:
		wrong("%s: %v: if its file is damaged, a rebuild puts it right", name, f.Err)
	case f.Parked > 0:
		fmt.Fprintf(w, "%-18s at %s: %d commits are parked, not compared\n", name, f.Position, f.Parked)
	case !f.Equal():
		wrong("%s at %s has digest %s, the log comes to %s: a rebuild puts it right", name, f.Position, f.Digest, f.Folded)
	default:
		fmt.Fprintf(w, "%-18s at %s: digest %s\n", name, f.Position, f.Digest)
	}
}
