package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"bms/domain"
)

// A till that was offline for long hands in as much as one message may have. The
// answer is more than what a connection's lane is meant for, and must arrive,
// also to who asks again for it.
func TestSocketCommand_the_greatest_answer_arrives(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		const lines = 10
		line := domain.TransactionLine{ProductID: "p1", Quantity: 1}
		batch := struct {
			BranchID  string `json:"branchId"`
			CommandID string `json:"commandId"`
			domain.SubmitSync
		}{"b1", "batch-1", domain.SubmitSync{DeviceID: "till", FromSeq: 1}}
		for i := range int64(domain.MaxSyncOperations) {
			batch.Operations = append(batch.Operations, domain.SyncOperation{Seq: i + 1, Lines: slices.Repeat([]domain.TransactionLine{line}, lines)})
		}
		s := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		s.ask("room:leave", "branch:b1") // the events are not what this is about
		var first json.RawMessage
		for range 2 {
			id := s.send("sync:submit", batch)
			got, raw := s.answer()
			for bytes.Contains(raw, []byte(`"code":"log_unavailable"`)) { // not in time, on a machine that is busy
				id = s.send("sync:submit", batch)
				got, raw = s.answer()
			}
			if got != id || !bytes.HasPrefix(raw, []byte(`{"ok":true,`)) {
				t.Fatalf("answer to %d: %.300s, want it ok", got, raw)
			}
			if len(raw) <= 4<<20 {
				t.Errorf("the answer has %d bytes: too few to show anything", len(raw))
			}
			if first != nil && !bytes.Equal(first, raw) {
				t.Error("the answer is another one the second time")
			}
			first = raw
		}
	})
}
