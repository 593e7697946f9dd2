package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"bms/domain"
	"bms/transport/eventlog"
)

// logConfig is what `bms log` was told.
type logConfig struct {
	dataDir   string
	from      domain.Position
	branch    string
	eventType string
	follow    bool
}

// eventTypes are what --type may say.
var eventTypes = []string{
	domain.TypeInventoryUpdated, domain.TypeProductUpdated, domain.TypeTransactionCreated, domain.TypeTransactionStatusChanged,
	domain.TypeLowStockAlert, domain.TypeBranchUpdated, domain.TypeUserUpdated, domain.TypeSyncStatus, domain.TypeSystemNotification,

	domain.TypeTransferDispatched, domain.TypeTransferAnnounced, domain.TypeTransferRefused, domain.TypeTransferReceived,
	domain.TypeTransferWithdrawn, domain.TypeTransferReturned, domain.TypeSyncHandled, domain.TypeNotificationsAcked, // internal
}

func logCommand() (*flagSet, runFunc) {
	f, c := newFlagSet("log"), &logConfig{}
	f.StringVar(&c.dataDir, "data", "./data", "data `folder`; a node may be serving from it")
	define(f, &c.from, "from", "", parsePos, "print what comes after this `pos`; empty: everything")
	f.StringVar(&c.branch, "branch", "", "print events of this `branch` only")
	define(f, &c.eventType, "type", "", oneOf(append([]string{""}, eventTypes...)...), "print events of this `type` only, for instance low-stock:alert")
	f.BoolVar(&c.follow, "follow", false, "go on printing as events happen, until interrupted")
	return f, func(ctx context.Context, stdout, _ io.Writer) error { return printLog(ctx, c, stdout) }
}

// parsePos reads a position; nothing is the one before every event.
func parsePos(s string) (domain.Position, error) {
	if s == "" {
		return domain.Position{}, nil
	}
	return domain.ParsePosition(s)
}

// printLog prints the envelopes of the events after c.from, and with c.follow
// goes on until the context ends, which is then no error.
func printLog(ctx context.Context, c *logConfig, stdout io.Writer) (err error) {
	reader, err := eventlog.OpenReadOnly(ctx, c.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	after := c.from.Seq
	if after > 0 {
		if err := reader.Check(c.from); err != nil {
			return fmt.Errorf("--from %s: %w", c.from, err)
		}
		after-- // the commit's later events come after the position too
	}
	read := reader.Read
	if c.follow {
		read = reader.Next
	}
	out := bufio.NewWriter(stdout)
	var line []byte
	for {
		commits, err := read(ctx, after, logBatch)
		if ctx.Err() != nil || err == nil && len(commits) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, commit := range commits {
			after = commit.Position.Seq
			for i := range commit.Events {
				e := &commit.Events[i]
				if !e.Pos.After(c.from) || c.branch != "" && e.BranchID != c.branch || c.eventType != "" && e.Type != c.eventType {
					continue
				}
				line = append(e.AppendEnvelope(line[:0]), '\n')
				if _, err := out.Write(line); err != nil {
					return err
				}
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// logBatch is how many commits are read at a time.
const logBatch = 1000
