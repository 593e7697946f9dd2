package main

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// usedOutside are exported names that nothing of this repository names outside
// its package, tests aside, and why they are exported all the same.
var usedOutside = map[string]string{
	"actors.System.Spawn":                   "what a System is for, with Behavior and Ref",
	"domain.MarshalState":                   "tells two states apart, in the tests of those who keep them",
	"domain.RoomOfRole":                     "one of the names of rooms",
	"domain.StreamOfInbox":                  "one of the names of streams",
	"domain.SystemIdentity":                 "who gives commands that follow, also where they are encoded",
	"transport/commandbus.NewLocal":         "a Pub/Sub for Config, its own if there is none",
	"transport/eventlog.NewPublisher":       "the log as a Pub/Sub of Watermill, for programs beside it",
	"transport/eventlog.NewSubscriber":      "the log as a Pub/Sub of Watermill, for programs beside it",
	"transport/httpapi.StatusOf":            "compared with AsyncAPI's on a node",
	"transport/socketio.Socket.EmitWithAck": "of Socket.IO, which this package gives without BMS",
}

// implemented are methods that the standard library or a library calls.
var implemented = []string{
	"Error", "Unwrap", "String", "MarshalText", "MarshalJSON", "UnmarshalJSON", "ServeHTTP", // the standard library
	"Publish", "Subscribe", // Watermill
}

// TestLayout_exported_names_are_used finds what is exported for nobody: each
// function, method and field of a Config, Observer or Hooks outside cmd is named
// in another package that is not a test. A field that says what its zero value
// means is for whoever wants another.
func TestLayout_exported_names_are_used(t *testing.T) {
	users := map[string]map[string]bool{} // of a name, by package
	var exporting []sourceFile
	for _, f := range sources(t) {
		if f.test || strings.HasSuffix(f.pkg, "test") {
			continue
		}
		for _, name := range namesIn(f.syntax) {
			if users[name] == nil {
				users[name] = map[string]bool{}
			}
			users[name][f.pkg] = true
		}
		for _, name := range contracts(f.syntax) {
			users[name] = map[string]bool{"an interface": true, f.pkg: true}
		}
		if f.syntax.Name.Name != "main" && !strings.HasPrefix(f.pkg, "cmd/") {
			exporting = append(exporting, f)
		}
	}
	seen := map[string]bool{}
	for _, f := range exporting {
		for _, name := range exportedBy(f.syntax) {
			full, last := f.pkg+"."+name, name[strings.LastIndexByte(name, '.')+1:]
			if users[last][f.pkg] && len(users[last]) > 1 || !users[last][f.pkg] && len(users[last]) > 0 || slices.Contains(implemented, last) {
				continue
			}
			seen[full] = true
			if usedOutside[full] == "" {
				t.Errorf("%s is exported, and no other package names it: delete it, or give it a small letter, or say in layout_names_test.go why not", full)
			}
		}
	}
	for name := range usedOutside {
		if !seen[name] {
			t.Errorf("layout_names_test.go has %s, which is used or is not there", name)
		}
	}
}

// namesIn are the names that a file takes from elsewhere: what stands behind a
// dot, and the keys of composite literals.
func namesIn(file *ast.File) (names []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			names = append(names, n.Sel.Name)
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				names = append(names, key.Name)
			}
		}
		return true
	})
	return names
}

// contracts are the methods of a file's interfaces: who has them may be called
// by somebody who doesn't name them.
func contracts(file *ast.File) (names []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if i, ok := n.(*ast.InterfaceType); ok {
			for _, m := range i.Methods.List {
				for _, name := range m.Names {
					names = append(names, name.Name)
				}
			}
		}
		return true
	})
	return names
}

// exportedBy are the exported functions of a file, methods of its exported
// types and fields of its configurations, the latter two behind their type.
func exportedBy(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			switch {
			case !d.Name.IsExported():
			case d.Recv == nil:
				names = append(names, d.Name.Name)
			default:
				if of := receiver(d.Recv.List[0].Type); ast.IsExported(of) {
					names = append(names, of+"."+d.Name.Name)
				}
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if spec, ok := spec.(*ast.TypeSpec); ok {
					names = append(names, fieldsOf(spec)...)
				}
			}
		}
	}
	return names
}

// zeroIs is how a field says that it may be left out.
var zeroIs = regexp.MustCompile(`(?i)\b(zero|zero value|0|nil) (means|is)\b`)

func fieldsOf(spec *ast.TypeSpec) (names []string) {
	of, ok := spec.Type.(*ast.StructType)
	if !ok || !strings.HasSuffix(spec.Name.Name, "Config") && spec.Name.Name != "Observer" && spec.Name.Name != "Hooks" {
		return nil
	}
	doc := "" // that of a field is also for those right below it
	for _, field := range of.Fields.List {
		if text := field.Doc.Text() + field.Comment.Text(); text != "" {
			doc = strings.ReplaceAll(text, "\n", " ")
		}
		for _, name := range field.Names {
			if name.IsExported() && !zeroIs.MatchString(doc) {
				names = append(names, spec.Name.Name+"."+name.Name)
			}
		}
	}
	return names
}

// receiver is the name of a method's type.
func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	}
	return ""
}
