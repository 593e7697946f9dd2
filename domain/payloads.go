package domain

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Event types: names on the wire and on disk.
const (
	TypeInventoryUpdated         = "inventory:updated"
	TypeProductUpdated           = "product:updated"
	TypeTransactionCreated       = "transaction:created"
	TypeTransactionStatusChanged = "transaction:status-changed"
	TypeLowStockAlert            = "low-stock:alert"
	TypeBranchUpdated            = "branch:updated"
	TypeUserUpdated              = "user:updated"
	TypeSyncStatus               = "sync:status"
	TypeSystemNotification       = "system:notification"
)

// Actions of product:updated, branch:updated and user:updated.
const (
	ActionCreated = "created"
	ActionUpdated = "updated"
	ActionDeleted = "deleted"
)

// Product is a product's state as events and reads carry it.
type Product struct {
	ProductID     string `json:"productId"`
	SKU           string `json:"sku"`
	Name          string `json:"name"`
	PriceMinor    int64  `json:"priceMinor"`
	Currency      string `json:"currency"`
	Stock         int64  `json:"stock"`
	MinStock      int64  `json:"minStock"`
	NegativeStock string `json:"negativeStock"`
	// Version is 1 at creation and rises by one with every event about the
	// product but its deletion.
	Version int64 `json:"version"`
}

// InventoryUpdated says that a product's stock changed by Delta to Stock.
type InventoryUpdated struct {
	ProductID     string `json:"productId"`
	SKU           string `json:"sku"`
	Delta         int64  `json:"delta"`
	Stock         int64  `json:"stock"`
	MinStock      int64  `json:"minStock"`
	Version       int64  `json:"version"`
	Reason        string `json:"reason"`
	Ref           string `json:"ref,omitempty"`
	TransactionID string `json:"transactionId,omitempty"`
}

// ProductUpdated carries the product after the change, or as it last was when
// Action is "deleted". Changes names the fields that differ; it is empty for
// "created" and "deleted".
//
// Where a command changes stock too, its InventoryUpdated comes after this
// event in the same commit, and the Product here has that stock already. A
// fold that adds deltas up takes Stock from InventoryUpdated alone.
type ProductUpdated struct {
	Action    string   `json:"action"`
	ProductID string   `json:"productId"`
	Product   Product  `json:"product"`
	Changes   []string `json:"changes"`
}

// Line is one line of a sale or purchase.
type Line struct {
	ProductID      string `json:"productId"`
	Quantity       int64  `json:"quantity"`
	UnitPriceMinor int64  `json:"unitPriceMinor"`
}

// TransactionCreated is a sale or a purchase, completed or pending.
type TransactionCreated struct {
	TransactionID string `json:"transactionId"`
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Lines         []Line `json:"lines"`
	TotalMinor    int64  `json:"totalMinor"`
	Currency      string `json:"currency"`
	DeviceID      string `json:"deviceId,omitempty"`
	OccurredAt    string `json:"occurredAt"`
}

// TransactionStatusChanged moves a transaction on. For a refund RefundedMinor
// is the total refunded so far and Lines is what this refund took back, all of
// it; other moves have neither. From and To are both "partially_refunded" when
// a second refund leaves something still.
type TransactionStatusChanged struct {
	TransactionID string       `json:"transactionId"`
	From          string       `json:"from"`
	To            string       `json:"to"`
	Reason        string       `json:"reason"`
	RefundedMinor *int64       `json:"refundedMinor,omitempty"`
	Lines         []RefundLine `json:"lines,omitempty"`
}

// RefundLine says how much of a product a refund takes back, and whether the
// goods move back too: into stock for a sale, out of it for a purchase.
type RefundLine struct {
	ProductID string `json:"productId"`
	Quantity  int64  `json:"quantity"`
	Restock   bool   `json:"restock"`
}

// LowStockAlert says that the event at CausePos left stock at or below the
// minimum. First is true when the product was above it before.
type LowStockAlert struct {
	ProductID string   `json:"productId"`
	SKU       string   `json:"sku"`
	Name      string   `json:"name"`
	Stock     int64    `json:"stock"`
	MinStock  int64    `json:"minStock"`
	Level     string   `json:"level"`
	First     bool     `json:"first"`
	CausePos  Position `json:"causePos"`
}

// BranchUpdated carries the branch after the change.
type BranchUpdated struct {
	Action string `json:"action"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// UserUpdated carries the user after the change. Branches is sorted, without
// duplicates; LeftBranches, too, are those he had before and has no more, whose
// managers are told by this event for the last time. Changes names the fields that differ, all of them for "created".
type UserUpdated struct {
	UserID   string   `json:"userId"`
	Action   string   `json:"action"`
	Role     string   `json:"role"`
	Branches []string `json:"branches"`
	Disabled bool     `json:"disabled"`
	Name     string   `json:"name,omitempty"`
	Changes  []string `json:"changes"`

	LeftBranches []string `json:"leftBranches,omitempty"`
}

// SyncStatus tells how far an offline batch of a device has been applied. Of
// the Received operations so many were Applied, were Duplicates of ones handled
// before, or were Rejected (and are handled); that is all of them in the last
// status of a batch, which alone has the Errors. Conflicted ones are among the
// applied.
type SyncStatus struct {
	DeviceID   string `json:"deviceId"`
	Phase      string `json:"phase"`
	Received   int64  `json:"received"`
	Applied    int64  `json:"applied"`
	Duplicates int64  `json:"duplicates"`
	Conflicted int64  `json:"conflicted"`
	Rejected   int64  `json:"rejected"`
	// LastSeq is the sequence up to which the device need not send again.
	LastSeq int64       `json:"lastSeq"`
	Errors  []SyncError `json:"errors"`
}

// SyncError is one operation of a batch that was refused.
type SyncError struct {
	Seq     int64  `json:"seq"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// SystemNotification is a message to an audience, which is a room's name.
type SystemNotification struct {
	NotificationID string `json:"notificationId"`
	Severity       string `json:"severity"`
	Title          string `json:"title"`
	Message        string `json:"message"`
	Audience       string `json:"audience"`
	ExpiresAt      string `json:"expiresAt,omitempty"`
}

func (InventoryUpdated) EventType() string         { return TypeInventoryUpdated }
func (ProductUpdated) EventType() string           { return TypeProductUpdated }
func (TransactionCreated) EventType() string       { return TypeTransactionCreated }
func (TransactionStatusChanged) EventType() string { return TypeTransactionStatusChanged }
func (LowStockAlert) EventType() string            { return TypeLowStockAlert }
func (BranchUpdated) EventType() string            { return TypeBranchUpdated }
func (UserUpdated) EventType() string              { return TypeUserUpdated }
func (SyncStatus) EventType() string               { return TypeSyncStatus }
func (SystemNotification) EventType() string       { return TypeSystemNotification }

// ErrUnknownEvent is returned for an event of a type, or of a newer version,
// that this program doesn't know: it must stop what needs it, not skip it.
var ErrUnknownEvent = errors.New("unknown event type or version")

// schema is an event type's current version, and how its payload is read.
type schema struct {
	version int
	decode  func(json.RawMessage) (Payload, error)
}

// schemas lists every event type. Payloads of older versions become current
// ones by upcasts and nowhere else.
var schemas = map[string]schema{
	TypeInventoryUpdated:         {1, decode[InventoryUpdated]},
	TypeProductUpdated:           {1, decode[ProductUpdated]},
	TypeTransactionCreated:       {1, decode[TransactionCreated]},
	TypeTransactionStatusChanged: {1, decode[TransactionStatusChanged]},
	TypeLowStockAlert:            {1, decode[LowStockAlert]},
	TypeBranchUpdated:            {1, decode[BranchUpdated]},
	TypeUserUpdated:              {1, decode[UserUpdated]},
	TypeSyncStatus:               {1, decode[SyncStatus]},
	TypeSystemNotification:       {1, decode[SystemNotification]},
	TypeTransferDispatched:       {1, decode[TransferDispatched]},
	TypeTransferAnnounced:        {1, decode[TransferAnnounced]},
	TypeTransferRefused:          {1, decode[TransferRefused]},
	TypeTransferReceived:         {1, decode[TransferReceived]},
	TypeTransferWithdrawn:        {1, decode[TransferWithdrawn]},
	TypeTransferReturned:         {1, decode[TransferReturned]},
	TypeSyncHandled:              {1, decode[SyncHandled]},
	TypeNotificationsAcked:       {1, decode[NotificationsAcked]},
}

func decode[P Payload](data json.RawMessage) (Payload, error) {
	var p P
	err := json.Unmarshal(data, &p)
	return p, err
}

func decodePayload(eventType string, version int, data json.RawMessage) (Payload, error) {
	data, err := current(eventType, version, data)
	if err != nil {
		return nil, err
	}
	p, err := schemas[eventType].decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", eventType, err)
	}
	return p, nil
}

func currentVersion(eventType string) int { return schemas[eventType].version }
