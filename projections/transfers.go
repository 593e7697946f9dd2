package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"bms/domain"
)

// transfersDefinition keeps every transfer as both of its branches know it, and
// the commands that transfers entail and the log doesn't have yet: pending. One
// goes in with the event that entails it and out when its commit comes along
// the log, so that whatever happens between the two neither loses nor doubles
// it.
func transfersDefinition() definition {
	return definition{
		name: Transfers, version: 1,
		schema: `
CREATE TABLE transfers (
	transfer TEXT PRIMARY KEY, pos INTEGER NOT NULL, sender TEXT NOT NULL, receiver TEXT NOT NULL,
	status TEXT NOT NULL, reason TEXT, lines TEXT NOT NULL, user TEXT, at INTEGER NOT NULL, changed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX transfers_sender ON transfers (sender, pos);
CREATE INDEX transfers_receiver ON transfers (receiver, pos);
CREATE TABLE pending (
	command TEXT PRIMARY KEY, pos INTEGER NOT NULL,
	type TEXT NOT NULL, version INTEGER NOT NULL, branch TEXT NOT NULL, data TEXT NOT NULL, metadata TEXT
) WITHOUT ROWID;
CREATE INDEX pending_pos ON pending (pos, command);
`,
		types: []string{
			domain.TypeTransferDispatched, domain.TypeTransferAnnounced, domain.TypeTransferRefused,
			domain.TypeTransferReceived, domain.TypeTransferWithdrawn, domain.TypeTransferReturned,
		},
		wants: bySystem,
		keys: func(c *domain.Commit, add func(string)) { // two branches' streams make one row
			for i := range c.Events {
				if row := domain.Touched(&c.Events[i]); row.Kind == domain.RowTransfer {
					add("transfer/" + row.ID)
				}
			}
		},
		start: func(f *file) (fold, error) {
			t := &transfers{file: f}
			t.rows = newTable(t.load, t.store)
			return t, nil
		},
	}
}

// bySystem picks the commits of commands that only the system gives.
func bySystem(c *domain.Commit) bool { return c.UserID == "" && domain.OfSystem(c.CommandType) }

type transfers struct {
	basic
	file *file
	rows *table[string, transferRow]
}

type transferRow struct {
	id               string
	pos              int64 // where it was dispatched
	sender, receiver string
	status, reason   string
	lines            []TransferredLine
	user             string
	at, changed      int64 // milliseconds
}

const transferColumns = "transfer, pos, sender, receiver, status, reason, lines, user, at, changed"

func readTransfer(r row) (transferRow, error) {
	t := transferRow{
		id: r.text(0), pos: r.int(1), sender: r.text(2), receiver: r.text(3), status: r.text(4), reason: r.text(5),
		user: r.text(7), at: r.int(8), changed: r.int(9),
	}
	if err := json.Unmarshal([]byte(r.text(6)), &t.lines); err != nil {
		return t, fmt.Errorf("decode the lines of transfer %s: %w", t.id, err)
	}
	return t, nil
}

func (t *transfers) load(id string) (transferRow, bool, error) {
	row0 := transferRow{id: id}
	found, err := t.file.writer.one(context.Background(), func(r row) (err error) {
		row0, err = readTransfer(r)
		return err
	}, "SELECT "+transferColumns+" FROM transfers WHERE transfer = ?", id)
	return row0, found, err
}

func (t *transfers) store(r *transferRow) error {
	lines, err := json.Marshal(r.lines)
	if err != nil {
		return fmt.Errorf("encode the lines of transfer %s: %w", r.id, err)
	}
	return t.file.writer.exec("INSERT OR REPLACE INTO transfers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.id, r.pos, r.sender, r.receiver, r.status, orNull(r.reason), string(lines), orNull(r.user), r.at, r.changed)
}

// commit drops what a commit of the system's settles.
func (t *transfers) commit(c *domain.Commit) error {
	if !bySystem(c) {
		return nil
	}
	return t.file.writer.exec("DELETE FROM pending WHERE command = ?", c.CommandID)
}

func (t *transfers) apply(c *domain.Commit, e *domain.Event, payload domain.Payload) error {
	if err := t.entail(c, e); err != nil {
		return err
	}
	switch p := payload.(type) {
	case domain.TransferDispatched:
		return t.dispatched(e, p)
	case domain.TransferAnnounced:
		return t.change(e, p.TransferID, func(r *transferRow) { r.status = domain.TransferStateInTransit })
	case domain.TransferRefused:
		return t.change(e, p.TransferID, func(r *transferRow) { r.status, r.reason = domain.TransferStateRefused, p.Reason })
	case domain.TransferReceived:
		return t.change(e, p.TransferID, func(r *transferRow) { r.received(p.Lines) })
	case domain.TransferWithdrawn:
		return t.change(e, p.TransferID, func(r *transferRow) { r.status = domain.TransferStateCancelled })
	case domain.TransferReturned:
		return t.change(e, p.TransferID, func(r *transferRow) { r.returned(p.Lines) })
	}
	return nil
}

// entail notes the commands that an event entails.
func (t *transfers) entail(c *domain.Commit, e *domain.Event) error {
	follow, err := domain.FollowUps(e)
	if err != nil {
		return err
	}
	if len(follow) == 0 {
		return nil
	}
	metadata, err := encodeMetadata(c)
	if err != nil {
		return err
	}
	for i := range follow {
		if err := t.file.writer.exec("INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?, ?)",
			follow[i].ID, key(e.Pos), e.Type, int64(e.Version), e.BranchID, string(e.Data), metadata); err != nil {
			return err
		}
	}
	return nil
}

func (t *transfers) dispatched(e *domain.Event, p domain.TransferDispatched) error {
	entry, err := t.rows.get(p.TransferID)
	if err != nil {
		return err
	}
	if entry.found {
		return fmt.Errorf("event %s dispatches transfer %s, which is there", e.ID, p.TransferID)
	}
	entry.row = transferRow{
		id: p.TransferID, pos: key(e.Pos), sender: p.FromBranchID, receiver: p.ToBranchID, status: domain.TransferStateDispatched,
		lines: make([]TransferredLine, len(p.Lines)), user: e.UserID, at: e.At.UnixMilli(), changed: e.At.UnixMilli(),
	}
	for i, l := range p.Lines {
		entry.row.lines[i] = TransferredLine{ProductID: l.ProductID, Quantity: l.Quantity, InTransit: l.Quantity}
	}
	t.rows.put(entry)
	return nil
}

// change changes a transfer that is there.
func (t *transfers) change(e *domain.Event, id string, change func(*transferRow)) error {
	entry, err := t.rows.get(id)
	if err != nil {
		return err
	}
	if !entry.found {
		return fmt.Errorf("event %s changes transfer %s, which is not there", e.ID, id)
	}
	change(&entry.row)
	entry.row.changed = e.At.UnixMilli()
	t.rows.put(entry)
	return nil
}

func (r *transferRow) received(lines []domain.ReceivedLine) {
	for _, l := range lines {
		line := r.line(l.ProductID)
		line.Received += l.Received
		line.Damaged += l.Damaged
		line.InTransit -= l.Received + l.Damaged
	}
	for i := range r.lines {
		if r.lines[i].InTransit != 0 {
			return
		}
	}
	r.status = domain.TransferStateReceived
}

func (r *transferRow) returned(lines []domain.ReturnedLine) {
	for _, l := range lines {
		line := r.line(l.ProductID)
		line.Returned += l.Quantity
		line.WrittenOff += l.WrittenOff
		line.InTransit -= l.Quantity
	}
}

// line is that of a product, a new one if there is none: what the log says has
// come is not lost from sight.
func (r *transferRow) line(productID string) *TransferredLine {
	for i := range r.lines {
		if r.lines[i].ProductID == productID {
			return &r.lines[i]
		}
	}
	r.lines = append(r.lines, TransferredLine{ProductID: productID})
	return &r.lines[len(r.lines)-1]
}

func (t *transfers) flush() error { return t.rows.flush() }

func (t *transfers) forget() error {
	t.rows.forget()
	return nil
}
