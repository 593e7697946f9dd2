package domain

import (
	"encoding/json"
	"fmt"
)

// Kinds of rows of a branch's state. They are on disk, never to be changed.
const (
	RowProduct     = "product"
	RowTransaction = "transaction"
	RowTransfer    = "transfer"
	rowDevice      = "device"
)

// Row names a row of a branch's state, beside the branch's own: a product, a
// transaction, a transfer or a device. The zero value is none.
type Row struct{ Kind, ID string }

// Touched names the row that an event of a branch's stream changes; none for one
// that changes the branch's own only, or whose payload can't be decoded: Evolve
// says why.
func Touched(e *Event) Row {
	payload, err := e.Payload()
	if err != nil {
		return Row{}
	}
	switch p := payload.(type) {
	case ProductUpdated:
		return Row{RowProduct, p.ProductID}
	case InventoryUpdated:
		return Row{RowProduct, p.ProductID}
	case TransactionCreated:
		return Row{RowTransaction, p.TransactionID}
	case TransactionStatusChanged:
		return Row{RowTransaction, p.TransactionID}
	case TransferDispatched:
		return Row{RowTransfer, p.TransferID}
	case TransferAnnounced:
		return Row{RowTransfer, p.TransferID}
	case TransferRefused:
		return Row{RowTransfer, p.TransferID}
	case TransferReceived:
		return Row{RowTransfer, p.TransferID}
	case TransferWithdrawn:
		return Row{RowTransfer, p.TransferID}
	case TransferReturned:
		return Row{RowTransfer, p.TransferID}
	case SyncHandled:
		return Row{rowDevice, p.DeviceID}
	case SyncStatus:
		return Row{rowDevice, p.DeviceID}
	default:
		return Row{}
	}
}

// Needed names the rows that a branch's Decide reads for a command, whether they
// exist or not, but for products, of which it may read any. It reads none for a
// command that it rejects whatever the state. An id that is made of what clients
// know, as their keys, is looked at like one that is given: they can have given it
// before. One that is made of a fresh id is new.
func Needed(c Command) []Row {
	if judge(c) != nil {
		return nil
	}
	switch body := c.Body.(type) {
	case CreateTransaction:
		if body.TransactionID == "" && !c.Keyed {
			return nil
		}
		return []Row{{RowTransaction, body.id(c)}}
	case SetTransactionStatus:
		return []Row{{RowTransaction, body.TransactionID}}
	case ReceiveTransfer:
		return []Row{{RowTransfer, body.TransferID}}
	case CancelTransfer:
		return []Row{{RowTransfer, body.TransferID}}
	case AnnounceTransfer:
		return []Row{{RowTransfer, body.TransferID}}
	case ReturnTransfer:
		return []Row{{RowTransfer, body.TransferID}}
	case SubmitSync:
		rows := make([]Row, 1, 1+len(body.Operations))
		rows[0] = Row{rowDevice, body.DeviceID}
		for _, op := range body.Operations {
			rows = append(rows, Row{RowTransaction, op.id(c, body.DeviceID)})
		}
		return rows
	}
	return nil
}

// MarshalRow is a row as JSON; nil if there is none.
func (b *Branch) MarshalRow(r Row) ([]byte, error) {
	switch r.Kind {
	case RowProduct:
		return marshalRow(b.Products, r)
	case RowTransaction:
		return marshalRow(b.Transactions, r)
	case RowTransfer:
		return marshalRow(b.Transfers, r)
	case rowDevice:
		return marshalRow(b.Devices, r)
	}
	return nil, unknownRow(r)
}

// PutRow takes a row in, as MarshalRow gives it. Call Reindex when all products
// are in.
func (b *Branch) PutRow(r Row, raw []byte) error {
	switch r.Kind {
	case RowProduct:
		return putRow(b.Products, r, raw)
	case RowTransaction:
		return putRow(b.Transactions, r, raw)
	case RowTransfer:
		return putRow(b.Transfers, r, raw)
	case rowDevice:
		return putRow(b.Devices, r, raw)
	}
	return unknownRow(r)
}

// DropRow lets go of a row that is kept elsewhere, which is no product.
func (b *Branch) DropRow(r Row) {
	switch r.Kind {
	case RowTransaction:
		delete(b.Transactions, r.ID)
	case RowTransfer:
		delete(b.Transfers, r.ID)
	case rowDevice:
		delete(b.Devices, r.ID)
	}
}

func marshalRow[S any](rows map[string]*S, r Row) ([]byte, error) {
	s, ok := rows[r.ID]
	if !ok {
		return nil, nil
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", r.Kind, r.ID, err)
	}
	return raw, nil
}

func putRow[S any](rows map[string]*S, r Row, raw []byte) error {
	if raw == nil {
		return nil
	}
	s := new(S)
	if err := json.Unmarshal(raw, s); err != nil {
		return fmt.Errorf("decode %s %s: %w", r.Kind, r.ID, err)
	}
	rows[r.ID] = s
	return nil
}

func unknownRow(r Row) error { return fmt.Errorf("row %s is of an unknown kind, %q", r.ID, r.Kind) }
