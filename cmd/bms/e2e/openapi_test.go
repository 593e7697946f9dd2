package e2e_test

import (
	"os"
	"path/filepath"
	"testing"
)

// The OpenAPI document is one for others, too: swagger-parser resolves its
// references and checks it against the schema of OpenAPI 3.1.
func TestOpenAPI_another_tool_takes_the_document(t *testing.T) {
	file := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(file, serve(t).must("GET", "/openapi.json", "", nil).raw, 0o600); err != nil {
		t.Fatal(err)
	}
	const program = `import Parser from '@apidevtools/swagger-parser';
const api = await Parser.validate(process.argv[1]);
console.log(api.openapi, api.info.title);`
	p := start(t, "swagger-parser", nil, "node", "--input-type=module", "-e", program, file)
	if code := p.exit(); code != 0 || len(p.out) != 1 || p.out[0] != "3.1.0 BMS Realtime" {
		t.Errorf("swagger-parser exits %d and says %q, want the version and the title", code, p.out)
	}
}
