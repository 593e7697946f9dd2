package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/peterbourgon/ff/v3"
	"go.yaml.in/yaml/v3"
)

// configParser reads the configuration file: YAML with a key for each flag. A
// value is taken as it is written, whatever YAML makes of such a text ("off" is
// no truth value, and a secret of digits no number). The error names the key
// that no command knows, that is there twice, or that has a list where one value
// is due.
func (f *flagSet) configParser(known map[string]bool) ff.ConfigFileParser {
	return func(r io.Reader, set func(name, value string) error) error {
		pairs, err := pairsOf(r)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Lookup("config").Value, err)
		}
		seen := map[string]bool{}
		for ; len(pairs) > 0; pairs = pairs[2:] {
			key := pairs[0].Value
			wrong := func(how string) error {
				return fmt.Errorf("%s, line %d: key %q %s", f.Lookup("config").Value, pairs[0].Line, key, how)
			}
			if !known[key] || key == "config" {
				return wrong("is unknown")
			}
			if seen[key] {
				return wrong("is there twice")
			}
			seen[key] = true
			values, list, ok := valuesOf(pairs[1])
			switch {
			case !ok:
				return wrong("has no text for its value")
			case f.Lookup(key) == nil:
				continue // another command's
			case list && !slices.Contains(f.lists, key):
				return wrong("takes one value")
			}
			for _, value := range values {
				if err := set(key, value); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// pairsOf reads keys and values in turn, none of an empty file.
func pairsOf(r io.Reader) ([]*yaml.Node, error) {
	dec := yaml.NewDecoder(r)
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, errors.New("has more than one YAML document")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		return root.Content, nil
	case root.ShortTag() == "!!null":
		return nil, nil
	}
	return nil, errors.New("want YAML with a key for each flag")
}

// valuesOf is the text of a value, or those of a list; ok is false for anything
// else. No value at all is an empty text.
func valuesOf(n *yaml.Node) (texts []string, list, ok bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	all := []*yaml.Node{n}
	if list = n.Kind == yaml.SequenceNode; list {
		all = n.Content
	}
	for _, each := range all {
		if each.Kind == yaml.AliasNode {
			each = each.Alias
		}
		switch {
		case each.Kind != yaml.ScalarNode:
			return nil, list, false
		case each.ShortTag() == "!!null":
			texts = append(texts, "")
		default:
			texts = append(texts, each.Value)
		}
	}
	return texts, list, true
}
