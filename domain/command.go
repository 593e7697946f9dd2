package domain

import "time"

// Command types: names on sockets, in traces and in the log.
const (
	CommandOpenBranch           = "branch.open"
	CommandChangeBranch         = "branch.change"
	CommandCreateProduct        = "product.create"
	CommandChangeProduct        = "product.change"
	CommandDeleteProduct        = "product.delete"
	CommandCountStock           = "stock.count"
	CommandAdjustStock          = "stock.adjust"
	CommandAdjustStockBulk      = "stock.adjust-bulk"
	CommandCreateTransaction    = "transaction.create"
	CommandSetTransactionStatus = "transaction.set-status"
	CommandDispatchTransfer     = "transfer.dispatch"
	CommandReceiveTransfer      = "transfer.receive"
	CommandCancelTransfer       = "transfer.cancel"
	CommandSubmitSync           = "sync.submit"
	CommandSetUser              = "user.set"
	CommandChangeUser           = "user.change"
	CommandSendNotification     = "notification.send"
	CommandAckNotifications     = "notification.ack"
)

// Command types of the system's own: what follows from events (FollowUps).
// Nobody else can send them.
const (
	CommandAnnounceTransfer = "transfer.announce"
	CommandReturnTransfer   = "transfer.return"
)

// Command asks for something to happen. Who publishes it fills it in
// completely; Decide adds nothing from outside.
type Command struct {
	// ID is the command's id, unique per user: the client's Idempotency-Key
	// or commandId, or a UUIDv7 made at the edge.
	ID string
	// Keyed is true when the id came from the client, who may send it again.
	Keyed bool
	Type  string
	// BranchID is the branch in whose name it is given, which is the one that
	// decides in all cases but one (StreamOf); empty for users and
	// notifications.
	BranchID string
	Identity Identity
	// At is the time at the edge, taken as the time of the decision.
	At time.Time
	// Fingerprint tells bodies apart: a hash of type, branch and body.
	Fingerprint string
	// Body is one of the structs below, by value.
	Body any
	// Size is the body's length as JSON, in bytes, by which commands that wait
	// are weighed; 0 for one whose size is not known.
	Size int
	// Metadata goes into the commit (trace context).
	Metadata map[string]string
}

// Bodies, as in HTTP. Ids of the path ride along in the socket form; at the
// HTTP edge they are filled in from the path.

// OpenBranch opens a branch.
type OpenBranch struct {
	BranchID string `json:"branchId"`
	Name     string `json:"name"`
}

// ChangeBranch renames, closes or reopens a branch: at least one field. A
// Change… body whose fields all equal what is there has no events.
type ChangeBranch struct {
	Name   *string `json:"name,omitempty"`
	Status *string `json:"status,omitempty"`
}

// CreateProduct adds a product; ProductID is made from the command id if
// empty. A Stock that is given is the first entry of its ledger, also if it is
// 0.
type CreateProduct struct {
	ProductID     string `json:"productId,omitempty"`
	SKU           string `json:"sku"`
	Name          string `json:"name"`
	PriceMinor    int64  `json:"priceMinor"`
	Currency      string `json:"currency"`
	Stock         *int64 `json:"stock,omitempty"`
	MinStock      int64  `json:"minStock,omitempty"`
	NegativeStock string `json:"negativeStock,omitempty"`
}

// ChangeProduct changes the given fields. Stock sets the stock as a count
// does.
type ChangeProduct struct {
	ProductID       string  `json:"productId"`
	SKU             *string `json:"sku,omitempty"`
	Name            *string `json:"name,omitempty"`
	PriceMinor      *int64  `json:"priceMinor,omitempty"`
	Currency        *string `json:"currency,omitempty"`
	Stock           *int64  `json:"stock,omitempty"`
	MinStock        *int64  `json:"minStock,omitempty"`
	NegativeStock   *string `json:"negativeStock,omitempty"`
	ExpectedVersion *int64  `json:"expectedVersion,omitempty"`
}

// DeleteProduct takes a product out of the range.
type DeleteProduct struct {
	ProductID string `json:"productId"`
}

// CountStock sets the stock to what was counted.
type CountStock struct {
	ProductID       string `json:"productId"`
	Counted         int64  `json:"counted"`
	ExpectedVersion *int64 `json:"expectedVersion,omitempty"`
}

// AdjustStock changes the stock by Delta.
type AdjustStock struct {
	ProductID       string `json:"productId"`
	Delta           int64  `json:"delta"`
	Reason          string `json:"reason"`
	Ref             string `json:"ref,omitempty"`
	ExpectedVersion *int64 `json:"expectedVersion,omitempty"`
}

// Modes of AdjustStockBulk.
const (
	// BulkAtomic applies all lines or none.
	BulkAtomic = "atomic"
	// BulkPerLine applies every line that can be.
	BulkPerLine = "per-line"
)

// AdjustStockBulk changes the stock line by line, in order: each line meets
// what those before it have left.
type AdjustStockBulk struct {
	Mode  string           `json:"mode"`
	Lines []BulkAdjustment `json:"lines"`
}

// BulkAdjustment is a line of AdjustStockBulk.
type BulkAdjustment struct {
	ProductID string `json:"productId"`
	Delta     int64  `json:"delta"`
	Reason    string `json:"reason"`
	Ref       string `json:"ref,omitempty"`
}

// TransactionLine is a line of CreateTransaction; the price is the product's
// if absent.
type TransactionLine struct {
	ProductID      string `json:"productId"`
	Quantity       int64  `json:"quantity"`
	UnitPriceMinor *int64 `json:"unitPriceMinor,omitempty"`
}

// CreateTransaction records a sale or a purchase.
type CreateTransaction struct {
	TransactionID string            `json:"transactionId,omitempty"`
	Kind          string            `json:"kind"`
	Status        string            `json:"status"`
	Lines         []TransactionLine `json:"lines"`
	DeviceID      string            `json:"deviceId,omitempty"`
	OccurredAt    string            `json:"occurredAt,omitempty"`
}

// SetTransactionStatus completes, voids, fails or refunds a transaction. For
// both refund statuses Lines says what is taken back, and what is left then
// decides which of the two it comes to; "refunded" without lines takes back
// the rest.
type SetTransactionStatus struct {
	TransactionID string              `json:"transactionId"`
	Status        string              `json:"status"`
	Reason        string              `json:"reason"`
	Lines         []RefundRequestLine `json:"lines,omitempty"`
}

// RefundRequestLine is what of a line is refunded; Restock defaults to true.
type RefundRequestLine struct {
	ProductID string `json:"productId"`
	Quantity  int64  `json:"quantity"`
	Restock   *bool  `json:"restock,omitempty"`
}

// DispatchTransfer sends products to another branch, where they have the same
// ids.
type DispatchTransfer struct {
	ToBranchID string         `json:"toBranchId"`
	Lines      []TransferLine `json:"lines"`
}

// TransferLine is so much of a product on its way between branches.
type TransferLine struct {
	ProductID string `json:"productId"`
	Quantity  int64  `json:"quantity"`
}

// ReceiveTransfer takes in what has come of a transfer: the lines, or without
// any all that is still in transit, undamaged.
type ReceiveTransfer struct {
	TransferID string          `json:"transferId"`
	Lines      *[]ReceivedLine `json:"lines,omitempty"`
}

// ReceivedLine says how much of a product has come, and how much of it is
// damaged on top: both are in transit no longer, only Received is in stock.
type ReceivedLine struct {
	ProductID string `json:"productId"`
	Received  int64  `json:"received,omitempty"`
	Damaged   int64  `json:"damaged,omitempty"`
}

// CancelTransfer takes back what of a transfer is still in transit.
type CancelTransfer struct {
	TransferID string `json:"transferId"`
}

// SubmitSync hands in sales that a device made offline: all that it has made
// from sequence FromSeq up to the last one here. What it leaves out in between
// was none.
type SubmitSync struct {
	DeviceID   string          `json:"deviceId"`
	FromSeq    int64           `json:"fromSeq"`
	Operations []SyncOperation `json:"operations"`
}

// SyncOperation is a sale made offline. Kind is a sale if empty, Status
// completed; TransactionID is made from device and sequence if empty.
type SyncOperation struct {
	Seq           int64             `json:"seq"`
	TransactionID string            `json:"transactionId,omitempty"`
	Kind          string            `json:"kind,omitempty"`
	Status        string            `json:"status,omitempty"`
	Lines         []TransactionLine `json:"lines"`
	DeviceID      string            `json:"deviceId,omitempty"`
	OccurredAt    string            `json:"occurredAt,omitempty"`
}

// AnnounceTransfer tells the receiving branch of a transfer.
type AnnounceTransfer struct {
	TransferID   string         `json:"transferId"`
	FromBranchID string         `json:"fromBranchId"`
	Lines        []TransferLine `json:"lines"`
}

// ReturnTransfer gives the sending branch back what did not arrive.
type ReturnTransfer struct {
	TransferID string         `json:"transferId"`
	Lines      []TransferLine `json:"lines"`
}

// SetUser says what a user is, all of it: what is left out is empty.
type SetUser struct {
	UserID   string   `json:"userId"`
	Role     string   `json:"role"`
	Branches []string `json:"branches"`
	Disabled bool     `json:"disabled"`
	Name     string   `json:"name"`
}

// ChangeUser changes the given fields.
type ChangeUser struct {
	UserID   string    `json:"userId"`
	Role     *string   `json:"role,omitempty"`
	Branches *[]string `json:"branches,omitempty"`
	Disabled *bool     `json:"disabled,omitempty"`
	Name     *string   `json:"name,omitempty"`
}

// SendNotification sends a message to a room.
type SendNotification struct {
	Audience  string `json:"audience"`
	Severity  string `json:"severity"`
	Title     string `json:"title"`
	Message   string `json:"message"`
	ExpiresAt string `json:"expiresAt,omitempty"`
}

// AckNotifications acknowledges the notifications that were sent to oneself
// alone, all up to a position.
type AckNotifications struct {
	Pos string `json:"pos"`
}
