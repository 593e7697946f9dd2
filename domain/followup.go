package domain

// FollowUps returns the commands that an event entails, which somebody has to
// give some time after it, however often things break down in between: they
// take effect once for ever, since their ids are made from what they are about.
// None is ever rejected for what happened meanwhile to products or branches.
//
//   - transfer:dispatched: the receiving branch is told (transfer.announce);
//   - transfer:refused and transfer:withdrawn: the sending branch gets back
//     what did not arrive (transfer.return).
//
// A commit with their id and no user settles them. The submitter sets At; all
// else is filled in. It returns an error only for an event whose payload can't
// be decoded.
func FollowUps(e *Event) ([]Command, error) {
	switch e.Type {
	case TypeTransferDispatched, TypeTransferRefused, TypeTransferWithdrawn:
	default:
		return nil, nil
	}
	payload, err := e.Payload()
	if err != nil {
		return nil, err
	}
	switch p := payload.(type) {
	case TransferDispatched:
		return followUp(p.ToBranchID, CommandAnnounceTransfer, p.TransferID+"/announce", AnnounceTransfer{
			TransferID: p.TransferID, FromBranchID: p.FromBranchID, Lines: p.Lines,
		}), nil
	case TransferRefused:
		return followUp(p.FromBranchID, CommandReturnTransfer, p.TransferID+"/return", ReturnTransfer{TransferID: p.TransferID, Lines: p.Lines}), nil
	case TransferWithdrawn:
		return followUp(p.FromBranchID, CommandReturnTransfer, p.TransferID+"/return", ReturnTransfer{TransferID: p.TransferID, Lines: p.Lines}), nil
	default:
		return nil, nil
	}
}

func followUp(branchID, commandType, id string, body any) []Command {
	id = "transfer/" + id
	return []Command{{
		ID: id, Keyed: true, Type: commandType, BranchID: branchID, Identity: SystemIdentity(),
		Fingerprint: id, // says all that tells bodies apart
		Body:        body,
	}}
}

// announceTransfer gives transfer:announced, or transfer:refused if the branch
// does not exist or is closed. It is never rejected: the refusal has to be in
// this stream, or a later announcement could be taken while the units go back.
func (b *Branch) announceTransfer(body AnnounceTransfer) Decision {
	if _, known := b.Transfers[body.TransferID]; known {
		return Decision{}
	}
	reason := ""
	switch b.Status {
	case BranchOpen:
		return Decision{Events: []Fact{{BranchID: b.ID, Payload: TransferAnnounced{
			TransferID: body.TransferID, FromBranchID: body.FromBranchID, ToBranchID: b.ID, Lines: body.Lines,
		}}}}
	case BranchClosed:
		reason = CodeBranchClosed
	default:
		reason = CodeUnknownBranch
	}
	return Decision{Events: []Fact{{BranchID: b.ID, Payload: TransferRefused{
		TransferID: body.TransferID, FromBranchID: body.FromBranchID, ToBranchID: b.ID, Lines: body.Lines, Reason: reason,
	}}}}
}

// returnTransfer gives transfer:returned and an inventory:updated
// "transfer-return" for each line whose product is in the range still. Units
// of another are written off in the former, as the rest of that product's
// stock was with it. The branch may be closed.
func (b *Branch) returnTransfer(body ReturnTransfer) (Decision, *Rejection) {
	t, known := b.Transfers[body.TransferID]
	if !known || t.FromBranchID != b.ID {
		return Decision{}, b.unknownTransfer(body.TransferID)
	}
	if t.Status == TransferStateReturned {
		return Decision{}, nil
	}
	back := TransferReturned{TransferID: body.TransferID, Lines: make([]ReturnedLine, len(body.Lines))}
	facts := make([]Fact, 1, 1+len(body.Lines))
	for i, l := range body.Lines {
		back.Lines[i] = ReturnedLine{ProductID: l.ProductID, Quantity: l.Quantity}
		if !b.inRange(l.ProductID) {
			back.Lines[i].WrittenOff = l.Quantity
			continue
		}
		p := b.Products[l.ProductID].Product
		n := l.Quantity
		if _, ok := checkedAdd(p.Stock, n); !ok {
			n = 1<<63 - 1 - p.Stock
			back.Lines[i].WrittenOff = l.Quantity - n
		}
		if n > 0 {
			facts = append(facts, b.move(&p, n, InventoryUpdated{Reason: ReasonTransferReturn, Ref: body.TransferID}))
		}
	}
	facts[0] = Fact{BranchID: b.ID, Payload: back}
	return Decision{Events: facts}, nil
}
