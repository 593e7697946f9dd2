package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"bms/domain"
)

// alertsDefinition keeps the open low-stock alerts, and the causes whose alert
// is not in the log yet: pending. A cause goes in when it is folded and out
// when its alert comes along the log, so that whatever happens between the two
// neither loses nor doubles an alert.
//
// What is a cause depends on the mode, hence each mode has its own file.
func alertsDefinition(mode string) definition {
	return definition{
		name: Alerts, version: 2, variant: mode, reads: []int{1},
		schema: `
CREATE TABLE products (
	branch TEXT NOT NULL, product TEXT NOT NULL, name TEXT NOT NULL, level TEXT NOT NULL,
	alert TEXT, alert_pos INTEGER, alert_at INTEGER,
	PRIMARY KEY (branch, product)
) WITHOUT ROWID;
CREATE INDEX products_open ON products (branch, product) WHERE alert IS NOT NULL;
CREATE TABLE pending (pos INTEGER PRIMARY KEY, branch TEXT NOT NULL, alert TEXT NOT NULL, metadata TEXT);
CREATE INDEX pending_branch ON pending (branch, pos);
CREATE TABLE streams (branch TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
` + alertsLocalSchema,
		types: []string{domain.TypeProductUpdated, domain.TypeInventoryUpdated, domain.TypeLowStockAlert},
		wants: func(c *domain.Commit) bool { return strings.HasPrefix(c.Stream, alertsPrefix) },
		start: func(f *file) (fold, error) {
			a := &alerts{file: f, mode: domain.AlertMode(mode)}
			a.products = newTable(a.load, a.store)
			return a, nil
		},
		// The causes of a branch are settled in their order, so all of it is
		// folded in order.
		keys:    func(c *domain.Commit, add func(string)) { add("branch/" + branchOfAlerts(c.Stream)) },
		inherit: settle,
		begin:   settleThePast,
	}
}

// alertsPrefix begins the names of the alerts' streams; the branch follows.
var alertsPrefix = domain.StreamOfAlerts("")

// branchOfAlerts is the branch of a stream that the alerts are made from.
func branchOfAlerts(stream string) string {
	if branch, ok := strings.CutPrefix(stream, alertsPrefix); ok {
		return branch
	}
	return strings.TrimPrefix(stream, branchPrefix)
}

type alerts struct {
	basic
	file     *file
	mode     domain.AlertMode
	products *table[productKey, alertRow]
}

type alertRow struct {
	productKey
	name  string
	state domain.AlertState
	// alert is the open one as JSON, empty if there is none.
	alert    string
	alertPos int64
	alertAt  int64 // milliseconds
}

func (a *alerts) load(k productKey) (alertRow, bool, error) {
	p := alertRow{productKey: k}
	found, err := a.file.writer.one(context.Background(), func(r row) error {
		p.name, p.state.Level, p.alert, p.alertPos, p.alertAt = r.text(0), r.text(1), r.text(2), r.int(3), r.int(4)
		return nil
	}, "SELECT name, level, alert, alert_pos, alert_at FROM products WHERE branch = ? AND product = ?", k.branch, k.product)
	return p, found, err
}

func (a *alerts) store(p *alertRow) error {
	var alert, pos, at any
	if p.alert != "" {
		alert, pos, at = p.alert, p.alertPos, p.alertAt
	}
	return a.file.writer.exec("INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?, ?, ?, ?)", p.branch, p.product, p.name, p.state.Level, alert, pos, at)
}

// commit keeps the version of the alerts' streams, which the alerts process
// appends to.
func (a *alerts) commit(c *domain.Commit) error {
	branch, ok := strings.CutPrefix(c.Stream, alertsPrefix)
	if !ok {
		return nil
	}
	return a.file.writer.exec("INSERT OR REPLACE INTO streams VALUES (?, ?)", branch, int64(c.Version))
}

func (a *alerts) apply(c *domain.Commit, e *domain.Event, payload domain.Payload) error {
	switch p := payload.(type) {
	case domain.LowStockAlert:
		return a.alerted(e, p)
	case domain.InventoryUpdated:
		entry, err := a.products.get(productKey{e.BranchID, p.ProductID})
		if err != nil {
			return err
		}
		if p.Stock > p.MinStock && !entry.row.state.Open() {
			return nil // as nearly always
		}
		return a.derive(c, e, entry)
	case domain.ProductUpdated:
		entry, err := a.products.get(productKey{e.BranchID, p.ProductID})
		if err != nil {
			return err
		}
		if err := a.derive(c, e, entry); err != nil {
			return err
		}
		entry.row.name = p.Product.Name
		a.products.put(entry)
	}
	return nil
}

// derive judges a possible cause.
func (a *alerts) derive(c *domain.Commit, e *domain.Event, entry *entry[alertRow]) error {
	p := &entry.row
	alert, emit, now, err := domain.DeriveAlert(a.mode, p.state, p.name, e)
	if err != nil {
		return err
	}
	if now != p.state {
		p.state = now
		a.products.put(entry)
	}
	if !now.Open() && p.alert != "" {
		p.alert, p.alertPos, p.alertAt = "", 0, 0
		a.products.put(entry)
	}
	if !emit {
		return nil
	}
	raw, err := json.Marshal(alert)
	if err != nil {
		return fmt.Errorf("encode the alert for %s: %w", e.Pos, err)
	}
	metadata, err := encodeMetadata(c)
	if err != nil {
		return err
	}
	return a.file.writer.exec("INSERT INTO pending VALUES (?, ?, ?, ?)", key(e.Pos), e.BranchID, string(raw), metadata)
}

// alerted folds an alert. It settles the causes of its branch up to its own:
// alerts are appended in the order of their causes, so one before it that has
// none was not meant to have one.
func (a *alerts) alerted(e *domain.Event, p domain.LowStockAlert) error {
	if err := a.file.writer.exec("DELETE FROM pending WHERE branch = ? AND pos <= ?", e.BranchID, key(p.CausePos)); err != nil {
		return err
	}
	entry, err := a.products.get(productKey{e.BranchID, p.ProductID})
	if err != nil {
		return err
	}
	if !entry.row.state.Open() {
		return nil // risen again, or deleted, before its alert came
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the alert at %s: %w", e.Pos, err)
	}
	entry.row.alert, entry.row.alertPos, entry.row.alertAt = string(raw), key(e.Pos), e.At.UnixMilli()
	a.products.put(entry)
	return nil
}

func (a *alerts) flush() error { return a.products.flush() }

func (a *alerts) forget() error {
	a.products.forget()
	return nil
}
