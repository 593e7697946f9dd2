package domain

import (
	"strings"
	"testing"
	"time"
)

// alertsOf runs the payloads of a product's life through DeriveAlert and
// writes the alerts down: level, "!" if first, "-" where there is none, and
// what the state is in the end.
func alertsOf(t *testing.T, mode AlertMode, payloads ...Payload) string {
	t.Helper()
	var state AlertState
	var got []string
	for i, p := range payloads {
		e := sample("b1", p)
		e.Pos = Position{Epoch: 1, Seq: uint64(i + 1)}
		alert, emit, next, err := DeriveAlert(mode, state, "Tea", e)
		if err != nil {
			t.Fatal(err)
		}
		state = next
		if !emit {
			if alert != (LowStockAlert{}) {
				t.Errorf("an alert that is not emitted: %+v", alert)
			}
			got = append(got, "-")
			continue
		}
		if alert.CausePos != e.Pos || alert.ProductID != "tea" || alert.Name != "Tea" || alert.SKU != "T" {
			t.Errorf("alert %+v for %s at %s", alert, e.Type, e.Pos)
		}
		mark := alert.Level
		if alert.First {
			mark += "!"
		}
		got = append(got, mark)
	}
	return strings.Join(got, " ") + " | " + state.Level
}

func Test_low_stock_alerts(t *testing.T) {
	stock := func(stock, minimum int64) Payload {
		return InventoryUpdated{ProductID: "tea", SKU: "T", Stock: stock, MinStock: minimum}
	}
	product := func(action string, stock, minimum int64, changes ...string) Payload {
		return ProductUpdated{Action: action, ProductID: "tea", Product: Product{ProductID: "tea", SKU: "T", Name: "Tea", Stock: stock, MinStock: minimum}, Changes: changes}
	}
	for name, c := range map[string]struct {
		payloads     []Payload
		every, worse string
	}{
		"above":                     {[]Payload{stock(6, 5)}, "- | ", "- | "},
		"at_the_minimum":            {[]Payload{stock(5, 5)}, "low! | low", "low! | low"},
		"down_and_down":             {[]Payload{stock(5, 5), stock(4, 5), stock(0, 5), stock(-1, 5), stock(-2, 5)}, "low! low out negative negative | negative", "low! - out negative - | negative"},
		"back_up_a_bit":             {[]Payload{stock(-1, 5), stock(2, 5), stock(-1, 5)}, "negative! low negative | negative", "negative! - negative | negative"},
		"up_and_down":               {[]Payload{stock(3, 5), stock(9, 5), stock(3, 5)}, "low! - low! | low", "low! - low! | low"},
		"out_at_no_minimum":         {[]Payload{stock(1, 0), stock(0, 0)}, "- out! | out", "- out! | out"},
		"minimum_raised":            {[]Payload{stock(9, 5), product(ActionUpdated, 9, 9, "minStock")}, "- low! | low", "- low! | low"},
		"minimum_raised_again":      {[]Payload{stock(4, 5), product(ActionUpdated, 4, 9, "name", "minStock")}, "low! low | low", "low! - | low"},
		"minimum_lowered":           {[]Payload{stock(4, 5), product(ActionUpdated, 4, 3, "minStock"), stock(3, 3)}, "low! - low! | low", "low! - low! | low"},
		"renamed":                   {[]Payload{stock(4, 5), product(ActionUpdated, 4, 5, "name")}, "low! - | low", "low! - | low"},
		"created_with_stock":        {[]Payload{product(ActionCreated, 4, 5), stock(4, 5)}, "- low! | low", "- low! | low"},
		"created_without":           {[]Payload{product(ActionCreated, 0, 5)}, "- | ", "- | "},
		"stock_and_minimum_at_once": {[]Payload{product(ActionUpdated, 4, 5, "stock", "minStock"), stock(4, 5)}, "- low! | low", "- low! | low"},
		"deleted":                   {[]Payload{stock(4, 5), product(ActionDeleted, 4, 5)}, "low! - | ", "low! - | "},
		"of_other_types":            {[]Payload{stock(4, 5), BranchUpdated{}, TransactionCreated{}}, "low! - - | low", "low! - - | low"},
	} {
		if got := alertsOf(t, AlertEvery, c.payloads...); got != c.every {
			t.Errorf("%s, every: %q, want %q", name, got, c.every)
		}
		if got := alertsOf(t, "", c.payloads...); got != c.every {
			t.Errorf("%s, no mode: %q, want %q", name, got, c.every)
		}
		if got := alertsOf(t, AlertEscalation, c.payloads...); got != c.worse {
			t.Errorf("%s, escalation: %q, want %q", name, got, c.worse)
		}
	}
}

func Test_an_event_that_cannot_be_read_derives_nothing(t *testing.T) {
	was := AlertState{Level: LevelOut}
	e := &Event{Type: TypeInventoryUpdated, Version: 2, Data: []byte(`{}`)}
	if _, emit, now, err := DeriveAlert(AlertEvery, was, "Tea", e); err == nil || emit || now != was {
		t.Fatalf("emit %t, state %+v, error %v; want an error and the state as it was", emit, now, err)
	}
}

// Test_an_alert_has_one_command_id_per_cause is half of "once per cause": the
// log refuses the second commit (invariant 3).
func Test_an_alert_has_one_command_id_per_cause(t *testing.T) {
	cause := sample("b1", InventoryUpdated{ProductID: "tea"})
	cause.Pos = Position{Epoch: 1, Seq: 7, Index: 1}
	alert := LowStockAlert{ProductID: "tea", Name: "Tea", Level: LevelOut, CausePos: cause.Pos}
	commit, err := NewAlertCommit(4, now.Add(time.Microsecond), cause, alert)
	if err != nil {
		t.Fatal(err)
	}
	if commit.Stream != "alerts/b1" || commit.Version != 4 || commit.UserID != "" || commit.CommandID != "low-stock/"+cause.Pos.String() || commit.CommandType != CommandDeriveAlert {
		t.Errorf("commit %+v", commit)
	}
	e := commit.Events[0]
	if e.BranchID != "b1" || e.UserID != "" || e.Type != TypeLowStockAlert || !e.At.Equal(now) || e.ID != EventID(now, "", commit.CommandID, 0) {
		t.Errorf("event %+v", e)
	}
	e.payload = nil
	p, err := e.Payload()
	if err != nil || p != alert {
		t.Errorf("payload %+v, %v; want %+v", p, err, alert)
	}
}
