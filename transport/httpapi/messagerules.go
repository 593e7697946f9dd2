package httpapi

import (
	"github.com/danielgtaylor/huma/v2"

	"bms/domain"
)

// messageRules are what fields of events, results and socket messages must be,
// beside rules.
func messageRules() map[string]func(*huma.Schema) {
	enum := func(values ...any) func(*huma.Schema) { return func(s *huma.Schema) { s.Enum = values } }
	refusals := make([]any, len(connectRefusals))
	for i, code := range connectRefusals {
		refusals[i] = code
	}
	return map[string]func(*huma.Schema){
		"ProductUpdated.action":         enum(domain.ActionCreated, domain.ActionUpdated, domain.ActionDeleted),
		"BranchUpdated.action":          enum(domain.ActionCreated, domain.ActionUpdated),
		"UserUpdated.action":            enum(domain.ActionCreated, domain.ActionUpdated),
		"TransactionCreated.status":     enum(domain.StatusCompleted, domain.StatusPending),
		"TransactionStatusChanged.from": enum(transactionStatuses...),
		"TransactionStatusChanged.to":   enum(transactionStatuses[1:]...),
		"TransactionResult.status":      enum(domain.StatusCompleted, domain.StatusPending),
		"StatusResult.status":           enum(transactionStatuses[1:]...),
		"SystemNotification.severity":   enum(domain.SeverityInfo, domain.SeverityWarning, domain.SeverityCritical),
		"SyncStatus.phase":              enum(domain.SyncApplying, domain.SyncDone),
		"ConnectRefusalData.code":       enum(refusals...),
	}
}
