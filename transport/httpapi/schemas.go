package httpapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"bms/domain"
	"bms/projections"
)

const (
	schemaPrefix = "#/components/schemas/"
	patternID    = "^[A-Za-z0-9_-]{1,64}$"
	patternPos   = "^[0-9a-v]{22}$"
	// patternTransfer is the id that a dispatch gives.
	patternTransfer = "^[0-9a-f]{32}-[A-Za-z0-9_-]{1,64}$"
)

// results is what each command's answer has as its result.
var results = map[string]reflect.Type{
	domain.CommandOpenBranch:           reflect.TypeFor[domain.BranchResult](),
	domain.CommandChangeBranch:         reflect.TypeFor[domain.BranchResult](),
	domain.CommandCreateProduct:        reflect.TypeFor[domain.ProductResult](),
	domain.CommandChangeProduct:        reflect.TypeFor[domain.ProductResult](),
	domain.CommandDeleteProduct:        reflect.TypeFor[domain.ProductResult](),
	domain.CommandCountStock:           reflect.TypeFor[domain.StockResult](),
	domain.CommandAdjustStock:          reflect.TypeFor[domain.StockResult](),
	domain.CommandAdjustStockBulk:      reflect.TypeFor[domain.BulkResult](),
	domain.CommandCreateTransaction:    reflect.TypeFor[domain.TransactionResult](),
	domain.CommandSetTransactionStatus: reflect.TypeFor[domain.StatusResult](),
	domain.CommandDispatchTransfer:     reflect.TypeFor[domain.DispatchResult](),
	domain.CommandReceiveTransfer:      reflect.TypeFor[domain.ReceiveResult](),
	domain.CommandCancelTransfer:       reflect.TypeFor[domain.CancelResult](),
	domain.CommandSubmitSync:           reflect.TypeFor[domain.SyncStatus](),
	domain.CommandSetUser:              reflect.TypeFor[domain.UserResult](),
	domain.CommandChangeUser:           reflect.TypeFor[domain.UserResult](),
	domain.CommandSendNotification:     reflect.TypeFor[domain.NotificationResult](),
}

// payloads are the data of the events.
var payloads = []domain.Payload{
	domain.InventoryUpdated{},
	domain.ProductUpdated{},
	domain.TransactionCreated{},
	domain.TransactionStatusChanged{},
	domain.LowStockAlert{},
	domain.BranchUpdated{},
	domain.UserUpdated{},
	domain.SyncStatus{},
	domain.SystemNotification{},
}

// eventSchema and positionSchema stand for types that write their own JSON.
type (
	eventSchema    struct{}
	positionSchema struct{}
)

func (eventSchema) Schema(huma.Registry) *huma.Schema { return ref("Event") }

func (positionSchema) Schema(huma.Registry) *huma.Schema { return positionOf() }

func positionOf() *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: patternPos, Description: "A position: opaque, sorts in log order."}
}

func idOf() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Pattern: patternID} }

func ref(name string) *huma.Schema { return &huma.Schema{Ref: schemaPrefix + name} }

// newSchemas makes the registry of schemas with what reflection doesn't know:
// events, positions, problems, and the rules of fields.
func newSchemas() huma.Registry {
	r := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	r.RegisterTypeAlias(reflect.TypeFor[domain.Event](), reflect.TypeFor[eventSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[domain.Position](), reflect.TypeFor[positionSchema]())

	event := &huma.Schema{Description: "An event as everybody gets it; branchId is null where it is not of one branch."}
	for _, p := range payloads {
		data := r.Schema(reflect.TypeOf(p), true, "")
		name := "Event" + strings.TrimPrefix(data.Ref, schemaPrefix)
		r.Map()[name] = envelopeOf(p.EventType(), data)
		event.OneOf = append(event.OneOf, ref(name))
	}
	r.Map()["Event"] = event

	codes := []any{}
	for _, code := range slices.Sorted(maps.Keys(problems)) {
		codes = append(codes, code)
	}
	r.Map()["Problem"] = &huma.Schema{
		Type: huma.TypeObject, Description: "RFC 9457, with a stable code and the code's own members, such as errors of validation or lines of insufficient_stock.",
		AdditionalProperties: true,
		Properties: map[string]*huma.Schema{
			"type":       {Type: huma.TypeString, Format: "uri"},
			"title":      {Type: huma.TypeString},
			"status":     {Type: huma.TypeInteger},
			"detail":     {Type: huma.TypeString},
			"code":       {Type: huma.TypeString, Enum: codes},
			"errors":     {Type: huma.TypeArray, Items: r.Schema(reflect.TypeFor[domain.FieldError](), true, "")},
			"retryAfter": {Type: huma.TypeInteger, Description: "Seconds"},
		},
		Required: []string{"type", "title", "status", "detail", "code"},
	}
	return r
}

// envelopeOf is an event of a type with its data.
func envelopeOf(eventType string, data *huma.Schema) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"id":        {Type: huma.TypeString, Format: "uuid"},
			"type":      {Type: huma.TypeString, Enum: []any{eventType}},
			"timestamp": {Type: huma.TypeString, Format: "date-time"},
			"branchId":  {Type: huma.TypeString, Nullable: true},
			"userId":    {Type: huma.TypeString},
			"data":      data,
			"pos":       positionOf(),
		},
		Required: []string{"id", "type", "timestamp", "branchId", "data", "pos"},
	}
}

// answerSchema is the answer of a command.
func answerSchema(r huma.Registry, command string) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"commandId":  {Type: huma.TypeString},
			"pos":        positionOf(),
			"durability": {Type: huma.TypeString, Enum: []any{domain.DurabilityFsync, domain.DurabilityRelaxed}},
			"events":     {Type: huma.TypeArray, Items: ref("Event")},
			"result":     r.Schema(results[command], true, ""),
		},
		Required: []string{"commandId", "pos", "durability", "events", "result"},
	}
}

// rules are what fields of bodies and answers must be, by name; a schema's
// name before it makes it that schema's alone.
func rules() map[string]func(*huma.Schema) {
	id := func(s *huma.Schema) { s.Pattern = patternID }
	enum := func(values ...any) func(*huma.Schema) { return func(s *huma.Schema) { s.Enum = values } }
	length := func(least, most int) func(*huma.Schema) {
		return func(s *huma.Schema) { s.MinLength, s.MaxLength = &least, &most }
	}
	least := func(n float64) func(*huma.Schema) { return func(s *huma.Schema) { s.Minimum = &n } }
	when := func(s *huma.Schema) { s.Format = "date-time" }
	items := func(least, most int) func(*huma.Schema) {
		return func(s *huma.Schema) { s.MinItems, s.MaxItems = &least, &most }
	}
	roles := enum(domain.RoleAdmin, domain.RoleManager, domain.RoleStaff)
	negative := enum(domain.NegativeDeny, domain.NegativeOfflineOnly, domain.NegativeAllow)
	branchStatus := enum(domain.BranchOpen, domain.BranchClosed)
	seq := func(s *huma.Schema) {
		least, most := 0.0, float64(domain.MaxSeq)
		s.Minimum, s.Maximum = &least, &most
	}
	return map[string]func(*huma.Schema){
		"toBranchId": id, "fromBranchId": id, "transferId": func(s *huma.Schema) { s.Pattern = patternTransfer },
		"dispatchedAt": when, "changedAt": when,
		"branchId": id, "productId": id, "transactionId": id, "userId": id, "deviceId": id,
		"role": roles, "negativeStock": negative, "occurredAt": when, "expiresAt": when, "at": when,
		"currency": func(s *huma.Schema) { s.Pattern = "^[A-Z]{3}$" },
		"kind":     enum(transactionKinds...),

		"OpenBranch.name": length(1, domain.MaxText), "ChangeBranch.name": length(1, domain.MaxText),
		"ChangeBranch.status": branchStatus, "Branch.status": branchStatus, "BranchUpdated.status": branchStatus,
		"CreateProduct.sku": length(1, domain.MaxText), "ChangeProduct.sku": length(1, domain.MaxText),
		"CreateProduct.name": length(1, domain.MaxText), "ChangeProduct.name": length(1, domain.MaxText),
		"CreateProduct.priceMinor": least(0), "ChangeProduct.priceMinor": least(0),
		"CreateProduct.stock": least(0), "ChangeProduct.stock": least(0),
		"CreateProduct.minStock": least(0), "ChangeProduct.minStock": least(0),
		"CountStock.counted": least(0), "AdjustStock.reason": length(1, domain.MaxText), "AdjustStock.ref": length(0, domain.MaxText),
		"CreateTransaction.status": enum(domain.StatusCompleted, domain.StatusPending), "CreateTransaction.lines": items(1, domain.MaxLines),
		"AdjustStockBulk.mode": enum(domain.BulkAtomic, domain.BulkPerLine), "AdjustStockBulk.lines": items(1, domain.MaxLines),
		"BulkAdjustment.reason": length(1, domain.MaxText), "BulkAdjustment.ref": length(0, domain.MaxText),
		"BulkResult.mode":        enum(domain.BulkAtomic, domain.BulkPerLine),
		"DispatchTransfer.lines": items(1, domain.MaxLines), "TransferLine.quantity": least(1),
		"ReceiveTransfer.lines": items(1, domain.MaxLines), "ReceivedLine.received": least(0), "ReceivedLine.damaged": least(0),
		"ReceiveResult.status": enum(domain.TransferStateInTransit, domain.TransferStateReceived),
		"CancelResult.status":  enum(domain.TransferStateCancelled),
		"Transfer.status":      enum(transferStatuses...),
		"SubmitSync.fromSeq":   seq, "SubmitSync.operations": items(1, domain.MaxSyncOperations), "SyncOperation.seq": seq,
		"SyncOperation.kind": enum(domain.KindSale), "SyncOperation.status": enum(domain.StatusCompleted, domain.StatusPending),
		"SyncOperation.lines":      items(1, domain.MaxLines),
		"TransactionLine.quantity": least(1), "TransactionLine.unitPriceMinor": least(0),
		"SetTransactionStatus.status": enum(transactionStatuses[1:]...), "SetTransactionStatus.reason": length(1, domain.MaxText),
		"SetTransactionStatus.lines": items(0, domain.MaxLines), "RefundRequestLine.quantity": least(1),
		"RefundRequestLine.restock": func(s *huma.Schema) { s.Default = true },
		"SetUser.name":              length(0, domain.MaxText), "ChangeUser.name": length(0, domain.MaxText),
		"SetUser.branches": items(0, domain.MaxBranches), "ChangeUser.branches": items(0, domain.MaxBranches),
		"SendNotification.severity": enum(domain.SeverityInfo, domain.SeverityWarning, domain.SeverityCritical),
		"SendNotification.title":    length(1, domain.MaxText), "SendNotification.message": length(1, domain.MaxMessage),
		"SendNotification.audience": func(s *huma.Schema) {
			s.Description = "system:notifications, branch:{id}, user-role:{role} or notifications:{userId}"
		},
		"Transaction.status": enum(transactionStatuses...), "LowStockAlert.level": enum("low", "out", "negative"),
		"Status.state": enum(projections.StateLive, projections.StateRebuilding, projections.StateParked, projections.StateFailed),
	}
}

// optional are the fields of bodies that may be left out though they have a
// value of their own: false, none, empty.
var optional = map[string][]string{"SetUser": {"disabled", "name", "branches"}}

// finishSchemas applies the rules to all schemas of the registry, and says of
// no list that it may be null.
func finishSchemas(r huma.Registry) {
	fields := rules()
	maps.Copy(fields, messageRules())
	for name, s := range r.Map() {
		s.Required = slices.DeleteFunc(s.Required, func(field string) bool { return slices.Contains(optional[name], field) })
		for field, p := range s.Properties {
			notNull(p)
			if rule := fields[field]; rule != nil {
				applyTo(p, rule)
			}
			if rule := fields[name+"."+field]; rule != nil {
				applyTo(p, rule)
			}
		}
		s.PrecomputeMessages()
	}
}

// applyTo applies a rule to a text or number, or to a list as such.
func applyTo(s *huma.Schema, rule func(*huma.Schema)) {
	if s.Ref == "" {
		rule(s)
	}
}

func notNull(s *huma.Schema) {
	if s.Type == huma.TypeArray {
		s.Nullable = false
	}
	if s.Items != nil {
		notNull(s.Items)
	}
}
