package domain

// Types of internal events, on disk as all others are: see Internal.
const (
	TypeTransferDispatched = "transfer:dispatched"
	TypeTransferAnnounced  = "transfer:announced"
	TypeTransferRefused    = "transfer:refused"
	TypeTransferReceived   = "transfer:received"
	TypeTransferWithdrawn  = "transfer:withdrawn"
	TypeTransferReturned   = "transfer:returned"
	TypeSyncHandled        = "sync:handled"
	TypeNotificationsAcked = "notifications:acked"
)

// TransferDispatched says, in the sending branch, that products have left for
// another. Its lines have each product once, as those of all transfer events.
type TransferDispatched struct {
	TransferID   string         `json:"transferId"`
	FromBranchID string         `json:"fromBranchId"`
	ToBranchID   string         `json:"toBranchId"`
	Lines        []TransferLine `json:"lines"`
}

// TransferAnnounced says, in the receiving branch, that a transfer is in
// transit.
type TransferAnnounced struct {
	TransferID   string         `json:"transferId"`
	FromBranchID string         `json:"fromBranchId"`
	ToBranchID   string         `json:"toBranchId"`
	Lines        []TransferLine `json:"lines"`
}

// TransferRefused says, in the stream of the receiving branch, that it takes
// nothing. Reason is a reject code: unknown_branch or branch_closed.
type TransferRefused struct {
	TransferID   string         `json:"transferId"`
	FromBranchID string         `json:"fromBranchId"`
	ToBranchID   string         `json:"toBranchId"`
	Lines        []TransferLine `json:"lines"`
	Reason       string         `json:"reason"`
}

// TransferReceived says, in the receiving branch, what has come.
type TransferReceived struct {
	TransferID string         `json:"transferId"`
	Lines      []ReceivedLine `json:"lines"`
}

// TransferWithdrawn says, in the receiving branch, that the sender has taken
// back what was still in transit: Lines.
type TransferWithdrawn struct {
	TransferID   string         `json:"transferId"`
	FromBranchID string         `json:"fromBranchId"`
	ToBranchID   string         `json:"toBranchId"`
	Lines        []TransferLine `json:"lines"`
}

// TransferReturned says, in the sending branch, that units are back.
type TransferReturned struct {
	TransferID string         `json:"transferId"`
	Lines      []ReturnedLine `json:"lines"`
}

// ReturnedLine says how much of a product came back, and how much of that is
// not in stock, because the product has left the range (or its stock would go
// beyond 64 bits).
type ReturnedLine struct {
	ProductID  string `json:"productId"`
	Quantity   int64  `json:"quantity"`
	WrittenOff int64  `json:"writtenOff,omitempty"`
}

// SyncHandled says which sequences of a device a batch has dealt with, in
// ascending order: never again will they take effect.
type SyncHandled struct {
	DeviceID string     `json:"deviceId"`
	Seqs     []SeqRange `json:"seqs"`
}

// NotificationsAcked says up to where a user has acknowledged the notifications
// that were sent to him alone.
type NotificationsAcked struct {
	UserID string   `json:"userId"`
	Pos    Position `json:"pos"`
}

func (TransferDispatched) EventType() string { return TypeTransferDispatched }
func (TransferAnnounced) EventType() string  { return TypeTransferAnnounced }
func (TransferRefused) EventType() string    { return TypeTransferRefused }
func (TransferReceived) EventType() string   { return TypeTransferReceived }
func (TransferWithdrawn) EventType() string  { return TypeTransferWithdrawn }
func (TransferReturned) EventType() string   { return TypeTransferReturned }
func (SyncHandled) EventType() string        { return TypeSyncHandled }
func (NotificationsAcked) EventType() string { return TypeNotificationsAcked }
