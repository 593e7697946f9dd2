package httpapi

import (
	"embed"
	"net/http"
)

// docs is a page that shows /openapi.json; it needs nothing from elsewhere.
//
//go:embed docs/docs.html docs/docs.js docs/docs.css
var docs embed.FS

const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset answers with a file of docs.
func asset(name, contentType string) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		content, err := docs.ReadFile("docs/" + name)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Security-Policy", docsPolicy)
		writeBody(w, http.StatusOK, content)
		return nil
	}
}
