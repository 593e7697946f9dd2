package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bms/domain"
)

// Event is an event of the log, with what Check looks at.
type Event struct {
	Pos      domain.Position
	Sum      uint32 // of the envelope
	ID       string
	Type     string
	BranchID string

	// Mark names the command that caused the event. Commanders put it where an
	// event has room for it: a transaction's id or device, a status' reason, an
	// adjustment's ref, the end of a product's or branch's name, a title; of
	// transfers see markOut. Empty where there is none; the first event of a
	// commit that has one gives that of the commit.
	Mark string

	// Of inventory:updated, product:updated and low-stock:alert.
	ProductID       string
	Delta           int64
	Stock, MinStock int64
	// MinStockAlone is true for product:updated that changes the minimum and
	// not the stock.
	MinStockAlone bool
	// Deleted is true for product:updated that deletes.
	Deleted bool
	// AllowsNegative is true for product:updated of a product whose stock may
	// be negative.
	AllowsNegative bool
	// Transfer is the id of the transfer that moved the stock.
	Transfer string
	// Offline is true for sync:status, in whose commit stock may fall below
	// zero.
	Offline bool
	// Cause is the causePos of low-stock:alert.
	Cause domain.Position

	// Of system:notification.
	Audience string
	Critical bool
	// Of user:updated; the branches are those before the change and after.
	UserID       string
	UserBranches []string
}

// transferMarks are what stands before a transfer's id, by the reason of the
// stock's change.
var transferMarks = map[string]string{
	domain.ReasonTransferOut: markOut, domain.ReasonTransferIn: markIn, domain.ReasonTransferReturn: markBack,
}

// markPrefix stands before a mark at the end of a name.
const markPrefix = "Bench "

// ParseEvent reads an envelope.
func ParseEvent(envelope []byte) (Event, error) {
	var in struct {
		ID       string          `json:"id"`
		Type     string          `json:"type"`
		BranchID *string         `json:"branchId"`
		Pos      domain.Position `json:"pos"`
		Data     struct {
			ProductID     string          `json:"productId"`
			Delta         int64           `json:"delta"`
			Stock         int64           `json:"stock"`
			MinStock      int64           `json:"minStock"`
			Ref           string          `json:"ref"`
			Reason        string          `json:"reason"`
			TransactionID string          `json:"transactionId"`
			Name          string          `json:"name"`
			CausePos      domain.Position `json:"causePos"`
			Action        string          `json:"action"`
			Changes       []string        `json:"changes"`
			Product       struct {
				Name          string `json:"name"`
				Stock         int64  `json:"stock"`
				MinStock      int64  `json:"minStock"`
				NegativeStock string `json:"negativeStock"`
			} `json:"product"`
			DeviceID string   `json:"deviceId"`
			Title    string   `json:"title"`
			Audience string   `json:"audience"`
			Severity string   `json:"severity"`
			UserID   string   `json:"userId"`
			Branches []string `json:"branches"`
			Left     []string `json:"leftBranches"`
		} `json:"data"`
	}
	if err := json.Unmarshal(envelope, &in); err != nil {
		return Event{}, fmt.Errorf("read the envelope %.200q: %w", envelope, err)
	}
	d := &in.Data
	e := Event{
		Pos: in.Pos, Sum: Sum(envelope), ID: in.ID, Type: in.Type,
		ProductID: d.ProductID, Delta: d.Delta, Stock: d.Stock, MinStock: d.MinStock, Cause: d.CausePos,
		Audience: d.Audience, Critical: d.Severity == domain.SeverityCritical, UserID: d.UserID, UserBranches: slices.Concat(d.Branches, d.Left),
	}
	if in.BranchID != nil {
		e.BranchID = *in.BranchID
	}
	switch e.Type {
	case domain.TypeTransactionCreated:
		e.Mark = cmp.Or(d.DeviceID, d.TransactionID)
	case domain.TypeSyncStatus:
		e.Mark, e.Offline = d.DeviceID, true
	case domain.TypeSystemNotification:
		e.Mark = d.Title
	case domain.TypeTransactionStatusChanged:
		e.Mark = d.Reason
	case domain.TypeInventoryUpdated:
		e.Mark = d.Ref
		before, moved := transferMarks[d.Reason]
		if moved {
			e.Mark, e.Transfer = before+d.Ref, d.Ref
		}
	case domain.TypeBranchUpdated:
		e.Mark = strings.TrimPrefix(d.Name, markPrefix)
	case domain.TypeProductUpdated:
		e.Mark = strings.TrimPrefix(d.Product.Name, markPrefix)
		e.Stock, e.MinStock = d.Product.Stock, d.Product.MinStock
		e.MinStockAlone = d.Action == domain.ActionUpdated && slices.Contains(d.Changes, "minStock") && !slices.Contains(d.Changes, "stock")
		e.Deleted = d.Action == domain.ActionDeleted
		e.AllowsNegative = d.Product.NegativeStock != domain.NegativeDeny
	}
	return e, nil
}

// addressee is the user whom the event is about or for, empty for none.
func (e *Event) addressee() string {
	if e.Type == domain.TypeUserUpdated {
		return e.UserID
	}
	if kind, who, _ := strings.Cut(e.Audience, ":"); kind == "user" || kind == "notifications" {
		return who
	}
	return ""
}

// seenBy reports whether a connection has to get the event: the contract's
// tables of rooms and rights, told once more and on purpose not with the
// server's own code.
func (e *Event) seenBy(id domain.Identity, namespace string) bool {
	switch e.Type {
	case domain.TypeUserUpdated:
		return namespace != domain.NamespacePOS && (id.Role == domain.RoleAdmin || id.UserID == e.UserID ||
			id.Role == domain.RoleManager && slices.ContainsFunc(e.UserBranches, func(b string) bool { return slices.Contains(id.Branches, b) }))
	case domain.TypeSystemNotification:
		switch kind, who, _ := strings.Cut(e.Audience, ":"); {
		case e.Critical && id.Role != domain.RoleStaff, e.Audience == "system:notifications":
			return true
		case e.Audience == "system:alerts":
			return id.Role != domain.RoleStaff
		case kind == "branch":
			return id.Role == domain.RoleAdmin || slices.Contains(id.Branches, who)
		case kind == "user-role":
			return who == id.Role
		default: // user, notifications
			return who == id.UserID
		}
	default:
		return id.Role == domain.RoleAdmin || slices.Contains(id.Branches, e.BranchID)
	}
}
