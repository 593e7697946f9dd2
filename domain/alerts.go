package domain

import (
	"fmt"
	"slices"
	"time"
)

// Levels of a low-stock alert, in the order in which they get worse.
const (
	LevelLow      = "low"      // 0 < stock ≤ minStock
	LevelOut      = "out"      // stock = 0
	LevelNegative = "negative" // stock < 0
)

// AlertMode says which causes are worth an alert.
type AlertMode string

const (
	// AlertEvery alerts at each cause that leaves the product at or below
	// its minimum. The zero AlertMode means this.
	AlertEvery AlertMode = "every"
	// AlertEscalation alerts when the product falls to its minimum, and then
	// only at a level worse than that of the alert before.
	AlertEscalation AlertMode = "escalation"
)

// CommandDeriveAlert is the command type of commits made by NewAlertCommit.
// Nobody can send it.
const CommandDeriveAlert = "alert.derive"

// AlertState is what is known of a product's low-stock alert: whether one is
// open, and the level the product was last at. The zero value is a product
// above its minimum.
type AlertState struct {
	// Level is one of the Level… constants, empty while none is open.
	Level string `json:"level,omitempty"`
}

// Open reports whether the product is at or below its minimum.
func (s AlertState) Open() bool { return s.Level != "" }

// DeriveAlert judges one event of a branch: the alert it gives, whether it
// gives one, and the product's alert state after it. name is the product's
// name as known before the event. Causes are
//
//   - inventory:updated that leaves stock ≤ minStock;
//   - product:updated "updated" whose changes have minStock and that leaves
//     stock ≤ minStock. If they have stock too, the same command's
//     inventory:updated follows, carries the new minimum and is the one
//     cause; likewise for a product created with stock.
//
// An event that leaves the product above its minimum, or deletes it, closes
// the alert. Every other event leaves the state as it was. It returns an error
// only for an event whose payload can't be decoded.
func DeriveAlert(mode AlertMode, was AlertState, name string, cause *Event) (alert LowStockAlert, emit bool, now AlertState, err error) {
	switch cause.Type {
	case TypeInventoryUpdated, TypeProductUpdated:
	default:
		return LowStockAlert{}, false, was, nil
	}
	payload, err := cause.Payload()
	if err != nil {
		return LowStockAlert{}, false, was, err
	}
	switch p := payload.(type) {
	case InventoryUpdated:
		alert = LowStockAlert{ProductID: p.ProductID, SKU: p.SKU, Name: name, Stock: p.Stock, MinStock: p.MinStock}
	case ProductUpdated:
		if p.Action == ActionDeleted {
			return LowStockAlert{}, false, AlertState{}, nil
		}
		if p.Action != ActionUpdated || !slices.Contains(p.Changes, "minStock") || slices.Contains(p.Changes, "stock") {
			return LowStockAlert{}, false, was, nil
		}
		alert = LowStockAlert{
			ProductID: p.ProductID, SKU: p.Product.SKU, Name: p.Product.Name,
			Stock: p.Product.Stock, MinStock: p.Product.MinStock,
		}
	}
	now.Level = alertLevel(alert.Stock, alert.MinStock)
	if !now.Open() {
		return LowStockAlert{}, false, now, nil
	}
	if mode == AlertEscalation && severity(now.Level) <= severity(was.Level) {
		return LowStockAlert{}, false, now, nil
	}
	alert.Level, alert.First, alert.CausePos = now.Level, !was.Open(), cause.Pos
	return alert, true, now, nil
}

func alertLevel(stock, minStock int64) string {
	switch {
	case stock > minStock:
		return ""
	case stock > 0:
		return LevelLow
	case stock == 0:
		return LevelOut
	default:
		return LevelNegative
	}
}

func severity(level string) int {
	return slices.Index([]string{LevelLow, LevelOut, LevelNegative}, level)
}

// NewAlertCommit makes the commit of an alert that DeriveAlert gave for a
// cause: by the system, in the alerts' stream of the cause's branch, under a
// command id made from the cause's position, so that the log itself refuses a
// second alert for one cause. version is the next of that stream.
func NewAlertCommit(version uint64, at time.Time, cause *Event, alert LowStockAlert) (*Commit, error) {
	commit, err := NewCommit(StreamOfAlerts(cause.BranchID), version, Command{
		ID: AlertCommandID(cause.Pos), Type: CommandDeriveAlert, BranchID: cause.BranchID, At: at,
	}, Decision{Events: []Fact{{BranchID: cause.BranchID, Payload: alert}}})
	if err != nil {
		return nil, fmt.Errorf("alert for %s: %w", cause.Pos, err)
	}
	return commit, nil
}

// AlertCommandID is the command id of the alert for the cause at a position.
// The command's user id is empty.
func AlertCommandID(cause Position) string { return "low-stock/" + cause.String() }
