package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"bms/domain"
	"bms/projections"
)

// document is the OpenAPI document, made once from the routes.
type document struct {
	api     *huma.OpenAPI
	schemas huma.Registry
}

// pathParams say what an id in a path is.
var pathParams = map[string]string{
	"b": "The branch's id", "p": "The product's id", "t": "The transaction's id", "id": "The transfer's id", "u": "The user's id", "sid": "The connection's sid",
	"name": "The projection's name", "pos": "The parked commit's position",
}

// pathFields are the fields of bodies that a path gives.
var pathFields = map[string]string{"p": "productId", "t": "transactionId", "id": "transferId", "u": "userId"}

func newDocument(version string, routes []routeEntry) ([]byte, error) {
	raw, err := json.Marshal(describe(version, routes).api)
	if err != nil {
		return nil, fmt.Errorf("httpapi: encode the OpenAPI document: %w", err)
	}
	return raw, nil
}

func describe(version string, routes []routeEntry) *document {
	d := &document{schemas: newSchemas()}
	d.api = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "BMS Realtime", Version: version,
			Description: "Shops, products, stock, sales. A command's answer comes after its events are durable. " +
				"Errors are problem+json with a stable code.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Tags: []*huma.Tag{
			{Name: "commands", Description: "What changes something."},
			{Name: "queries", Description: "What is."},
			{Name: "node", Description: "How this node is."},
		},
		Paths: map[string]*huma.PathItem{},
		Components: &huma.Components{
			Schemas: d.schemas,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
			},
		},
	}
	for _, route := range routes {
		d.add(route)
	}
	finishSchemas(d.schemas)
	return d
}

func (d *document) add(route routeEntry) {
	op := &huma.Operation{
		OperationID: operationID(route), Method: route.method, Path: route.path,
		Summary: route.summary, Tags: []string{route.tag},
		Responses: map[string]*huma.Response{},
		Security:  []map[string][]string{},
	}
	if route.roles != "" {
		op.Description = "For: " + route.roles + "."
		op.Security = []map[string][]string{{"token": {}}}
	}
	for part := range strings.SplitSeq(route.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			schema := idOf()
			switch name {
			case "sid":
				schema = &huma.Schema{Type: huma.TypeString}
			case "id":
				schema.Pattern = patternTransfer
			case "pos":
				schema = positionOf()
			}
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Description: pathParams[name], Schema: schema})
		}
	}
	for _, p := range route.params {
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.name, In: "query", Description: p.about, Schema: p.describe()})
	}
	if route.method != http.MethodGet {
		op.Parameters = append(op.Parameters, keyParam())
	}
	if route.command != "" {
		d.addCommand(op, route)
	} else {
		d.addAnswer(op, route)
	}
	d.addProblems(op, route)
	d.api.AddOperation(op)
}

// keyParam is the header of all that has an effect.
func keyParam() *huma.Param {
	least, most := 1, domain.MaxCommandID
	return &huma.Param{
		Name: "Idempotency-Key", In: "header",
		Description: "The same key gives the same answer and one effect, for ever. It belongs to the user.",
		Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most},
	}
}

func (d *document) addCommand(op *huma.Operation, route routeEntry) {
	bodyType := reflect.TypeOf(domain.NewBody(route.command))
	body := d.schemas.Schema(bodyType, true, "")
	schema := d.schemas.SchemaFromRef(body.Ref)
	for param, field := range pathFields {
		if strings.Contains(route.path, "{"+param+"}") && schema.Properties[field] != nil {
			schema.Properties[field].Description = "Given by the path; if it is here, too, it must be the same."
			schema.Required = slices.DeleteFunc(schema.Required, func(name string) bool { return name == field })
		}
	}
	op.RequestBody = &huma.RequestBody{
		Required: !route.bare,
		Content:  map[string]*huma.MediaType{"application/json": {Schema: body}},
	}
	answer := bodyType.Name() + "Answer"
	d.schemas.Map()[answer] = answerSchema(d.schemas, route.command)
	done := func(about string) *huma.Response {
		return &huma.Response{Description: about, Content: map[string]*huma.MediaType{"application/json": {Schema: ref(answer)}}}
	}
	op.Responses[strconv.Itoa(route.status)] = done("Done, and durable. Repeated under its key: the same answer.")
	if route.command == domain.CommandAdjustStockBulk {
		op.Responses[strconv.Itoa(http.StatusMultiStatus)] = done("The same in mode " + domain.BulkPerLine + ": result.lines says what became of each line.")
	}
}

func (d *document) addAnswer(op *huma.Operation, route routeEntry) {
	response := &huma.Response{Description: http.StatusText(route.status)}
	switch {
	case route.answer != nil:
		response.Content = map[string]*huma.MediaType{"application/json": {Schema: d.schemas.Schema(route.answer, true, "")}}
		if route.tag == "queries" && !hasPos(route.answer) {
			response.Headers = map[string]*huma.Param{
				"Bms-Pos": {Description: "The position of the read model that this is from.", Schema: positionOf()},
			}
		}
	case route.answerType != "":
		schema := &huma.Schema{Type: huma.TypeString}
		if strings.HasSuffix(route.answerType, "json") {
			schema = &huma.Schema{Type: huma.TypeObject}
		}
		response.Content = map[string]*huma.MediaType{route.answerType: {Schema: schema}}
	}
	op.Responses[strconv.Itoa(route.status)] = response
}

// hasPos reports whether the answer itself has the read model's position. A
// transaction's or transfer's pos is its own.
func hasPos(t reflect.Type) bool {
	_, ok := t.FieldByName("Pos")
	return ok && t != reflect.TypeFor[projections.Transaction]() && t != reflect.TypeFor[projections.Transfer]()
}

// addProblems lists the refusals of an operation by status, with their codes.
func (d *document) addProblems(op *huma.Operation, route routeEntry) {
	var statuses []int
	switch {
	case route.command != "":
		statuses = []int{400, 401, 403, 404, 409, 413, 422, 429, 500, 503}
	case route.tag == "queries":
		statuses = []int{400, 401, 403, 404, 500, 503}
	case route.method == http.MethodPost:
		statuses = []int{400, 401, 403, 404, 409, 413, 422, 500, 503}
	case route.roles != "":
		statuses = []int{400, 401, 403, 404, 413, 422, 500, 503}
	case route.path == "/readyz":
		statuses = []int{503}
	}
	for _, status := range statuses {
		response := &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{contentProblem: {Schema: ref("Problem")}},
		}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			response.Headers = map[string]*huma.Param{"Retry-After": {Description: "Seconds", Schema: &huma.Schema{Type: huma.TypeInteger}}}
		}
		op.Responses[strconv.Itoa(status)] = response
	}
}

// operationID is the command's type, or made from method and path.
func operationID(route routeEntry) string {
	if route.command != "" {
		return route.command
	}
	id := strings.ToLower(route.method)
	for part := range strings.SplitSeq(route.path, "/") {
		switch {
		case part == "" || part == "api":
		case strings.HasPrefix(part, "{"):
			id += "-by-" + strings.Trim(part, "{}")
		default:
			id += "-" + part
		}
	}
	return id
}

// describe is the schema of a query parameter.
func (p param) describe() *huma.Schema {
	switch p.schema {
	case "position":
		return positionOf()
	case "id":
		return idOf()
	case "limit":
		least, most := 1.0, float64(projections.MaxLimit)
		return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Default: p.def}
	case "boolean":
		return &huma.Schema{Type: huma.TypeBoolean, Default: p.def}
	default:
		return &huma.Schema{Type: huma.TypeString, Enum: p.enum, Default: p.def}
	}
}
