package domain

import "fmt"

// Statuses of a branch. Empty is a branch that was never opened.
const (
	BranchOpen   = "open"
	BranchClosed = "closed"
)

// Branch is the write-side state of a branch: its products, transactions,
// transfers (those it has sent and those sent to it) and devices.
//
// It can be kept and loaded row by row, one per product, transaction, transfer
// and device: see rows.go.
type Branch struct {
	ID           string                       `json:"branchId"`
	Name         string                       `json:"name"`
	Status       string                       `json:"status"`
	Products     map[string]*ProductState     `json:"products"`
	Transactions map[string]*TransactionState `json:"transactions"`
	Transfers    map[string]*TransferState    `json:"transfers"`
	Devices      map[string]*DeviceState      `json:"devices"`

	skus map[string]string // SKU → product id, of the products in the range
}

// ProductState is a product and whether it has left the range, which it never
// comes back to.
type ProductState struct {
	Product
	Deleted bool `json:"deleted,omitempty"`
}

// TransactionState is what of a transaction later commands depend on.
type TransactionState struct {
	Kind          string     `json:"kind"`
	Status        string     `json:"status"`
	Currency      string     `json:"currency"`
	TotalMinor    int64      `json:"totalMinor"`
	RefundedMinor int64      `json:"refundedMinor"`
	Lines         []SoldLine `json:"lines"`
}

// SoldLine is a line of a transaction and how much of it was refunded.
type SoldLine struct {
	ProductID      string `json:"productId"`
	Quantity       int64  `json:"quantity"`
	UnitPriceMinor int64  `json:"unitPriceMinor"`
	Refunded       int64  `json:"refunded"`
}

// NewBranch returns the state of a branch that was never opened.
func NewBranch(id string) *Branch {
	return &Branch{
		ID:       id,
		Products: map[string]*ProductState{}, Transactions: map[string]*TransactionState{},
		Transfers: map[string]*TransferState{}, Devices: map[string]*DeviceState{},
		skus: map[string]string{},
	}
}

// Reindex rebuilds what is looked up by other keys. Call it after the exported
// fields were filled from elsewhere than events.
func (b *Branch) Reindex() {
	b.skus = make(map[string]string, len(b.Products))
	for id, p := range b.Products {
		if !p.Deleted {
			b.skus[p.SKU] = id
		}
	}
}

// BranchResult is the result of branch.open and branch.change.
type BranchResult struct {
	BranchID string `json:"branchId"`
}

// Decide judges every command of a branch.
func (b *Branch) Decide(c Command) (Decision, *Rejection) {
	if r := judge(c); r != nil {
		return Decision{}, r
	}
	if decidingBranch(c) != b.ID {
		return Decision{}, wrongStream(c, StreamOfBranch(b.ID))
	}
	switch body := c.Body.(type) { // whether the branch is open or not
	case OpenBranch:
		return b.open(body)
	case ChangeBranch:
		return b.change(body)
	case CancelTransfer:
		return b.cancelTransfer(c, body)
	case AnnounceTransfer:
		return b.announceTransfer(body), nil
	case ReturnTransfer:
		return b.returnTransfer(body)
	}
	if b.Status == "" {
		return Decision{}, b.unknown()
	}
	if b.Status == BranchClosed {
		return Decision{}, Reject(CodeBranchClosed, "branch %s is closed; reopen it first", b.ID)
	}
	switch body := c.Body.(type) {
	case CreateProduct:
		return b.createProduct(c, body)
	case ChangeProduct:
		return b.changeProduct(body)
	case DeleteProduct:
		return b.deleteProduct(body)
	case CountStock:
		return b.countStock(body)
	case AdjustStock:
		return b.adjustStock(body)
	case AdjustStockBulk:
		return b.adjustStockBulk(body)
	case CreateTransaction:
		return b.createTransaction(c, body)
	case SetTransactionStatus:
		return b.setTransactionStatus(c, body)
	case DispatchTransfer:
		return b.dispatchTransfer(c, body)
	case ReceiveTransfer:
		return b.receiveTransfer(body)
	case SubmitSync:
		return b.submitSync(c, body)
	default:
		return Decision{}, wrongStream(c, StreamOfBranch(b.ID))
	}
}

func (b *Branch) unknown() *Rejection {
	return Reject(CodeUnknownBranch, "there is no branch %s", b.ID)
}

// open opens a branch that never was; one that was is reopened by a change.
func (b *Branch) open(body OpenBranch) (Decision, *Rejection) {
	if body.BranchID != b.ID {
		return Decision{}, Invalid(FieldError{Field: "branchId", Message: "differs from the command's branch"})
	}
	if b.Status != "" {
		r := Reject(CodeInvalidTransition, "branch %s is there already and %s", b.ID, b.Status)
		r.Details = map[string]any{"from": b.Status, "to": BranchOpen}
		return Decision{}, r
	}
	return b.updated(ActionCreated, body.Name, BranchOpen), nil
}

// change renames, closes, reopens. A change that changes nothing has no event.
func (b *Branch) change(body ChangeBranch) (Decision, *Rejection) {
	if b.Status == "" {
		return Decision{}, b.unknown()
	}
	name, status := b.Name, b.Status
	set(&name, body.Name)
	set(&status, body.Status)
	if name == b.Name && status == b.Status {
		return Decision{Result: BranchResult{BranchID: b.ID}}, nil
	}
	return b.updated(ActionUpdated, name, status), nil
}

func (b *Branch) updated(action, name, status string) Decision {
	return Decision{
		Events: []Fact{{BranchID: b.ID, Payload: BranchUpdated{Action: action, Name: name, Status: status}}},
		Result: BranchResult{BranchID: b.ID},
	}
}

// Evolve folds an event of the branch's stream in. It needs no more of the
// state than the row that Touched names.
func (b *Branch) Evolve(e *Event) error {
	payload, err := e.Payload()
	if err != nil {
		return err
	}
	if e.BranchID != b.ID {
		return misplaced(e, StreamOfBranch(b.ID))
	}
	switch p := payload.(type) {
	case BranchUpdated:
		if (p.Action == ActionCreated) != (b.Status == "") {
			err = fmt.Errorf("it says %q, the status is %q", p.Action, b.Status)
		} else {
			b.Name, b.Status = p.Name, p.Status
		}
	case ProductUpdated:
		err = b.evolveProduct(p)
	case InventoryUpdated:
		err = b.evolveStock(p)
	case TransactionCreated:
		err = b.evolveTransaction(p)
	case TransactionStatusChanged:
		err = b.evolveStatus(p)
	case TransferDispatched:
		err = b.evolveDispatched(p)
	case TransferAnnounced:
		err = b.evolveAnnounced(p)
	case TransferRefused:
		err = b.evolveRefused(p)
	case TransferReceived:
		err = b.evolveReceived(p)
	case TransferWithdrawn:
		err = b.evolveWithdrawn(p)
	case TransferReturned:
		err = b.evolveReturned(p)
	case SyncHandled:
		err = b.evolveHandled(p)
	case SyncStatus:
		err = b.evolveSync(p)
	case SystemNotification: // of conflicts in a batch; changes nothing
	default:
		return misplaced(e, StreamOfBranch(b.ID))
	}
	if err != nil {
		return fmt.Errorf("branch %s, event %s %s: %w", b.ID, e.Type, e.ID, err)
	}
	return nil
}
