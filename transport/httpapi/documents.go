package httpapi

import (
	"net/http"
)

// documents describe the API to programs and their authors.
type documents struct {
	openAPI    []byte
	asyncAPI   []byte
	typeScript []byte
}

func newDocuments(version string, routes []routeEntry) (*documents, error) {
	openAPI, err := newDocument(version, routes)
	if err != nil {
		return nil, err
	}
	words := newVocabulary()
	asyncAPI, err := newAsyncDocument(version, words)
	if err != nil {
		return nil, err
	}
	return &documents{openAPI, asyncAPI, newTypeScript(version, words)}, nil
}

// openapi answers with the OpenAPI document.
func (a *api) openapi(w http.ResponseWriter, _ *http.Request) error {
	d, err := a.documents()
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	writeBody(w, http.StatusOK, d.openAPI)
	return nil
}

// asyncapi answers with the AsyncAPI document.
func (a *api) asyncapi(w http.ResponseWriter, _ *http.Request) error {
	d, err := a.documents()
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	writeBody(w, http.StatusOK, d.asyncAPI)
	return nil
}

// types answers with the TypeScript types.
func (a *api) types(w http.ResponseWriter, _ *http.Request) error {
	d, err := a.documents()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeBody(w, http.StatusOK, d.typeScript)
	return nil
}
