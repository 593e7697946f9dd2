package domain

import (
	"cmp"
	"fmt"
	"slices"
)

// SeqRange is the sequences From to To, both included.
type SeqRange struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// seqs is a set of sequences: ranges in ascending order that neither touch nor
// overlap. What a device numbers without gaps is one range.
type seqs []SeqRange

// at returns the place of the first range that ends at seq or after it.
func (s seqs) at(seq int64) int {
	i, _ := slices.BinarySearchFunc(s, seq, func(r SeqRange, seq int64) int { return cmp.Compare(r.To, seq) })
	return i
}

func (s seqs) has(seq int64) bool {
	i := s.at(seq)
	return i < len(s) && s[i].From <= seq
}

// add returns the set with a range that it has nothing of, else an error. It
// may change the set's memory.
func (s seqs) add(r SeqRange) (seqs, error) {
	i := s.at(r.From)
	if r.To < r.From || i < len(s) && s[i].From <= r.To {
		return nil, fmt.Errorf("sequences %d to %d are there already, in part or all", r.From, r.To)
	}
	before, after := i > 0 && s[i-1].To == r.From-1, i < len(s) && s[i].From == r.To+1
	switch {
	case before && after:
		s[i-1].To = s[i].To
		return slices.Delete(s, i, i+1), nil
	case before:
		s[i-1].To = r.To
	case after:
		s[i].From = r.From
	default:
		return slices.Insert(s, i, r), nil
	}
	return s, nil
}
