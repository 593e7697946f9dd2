package bench

import (
	"cmp"
	"slices"
	"strings"

	"bms/domain"
)

// commit is a commit of the log, as far as its events show it.
type commit struct {
	mark  string
	first int // index of its first event in the log
	count int
}

// commits groups the events of the run's branches by commit, without those of
// the alerts process.
func (c *checker) commits() []commit {
	var all []commit
	var seq uint64
	for i := range c.h.Log {
		e := &c.h.Log[i]
		message := e.Type == domain.TypeSystemNotification && e.BranchID == "" && strings.HasPrefix(e.Mark, c.h.Run+"-")
		if e.Type == domain.TypeLowStockAlert || !message && !slices.Contains(c.h.Branches, e.BranchID) {
			continue
		}
		if e.Pos.Seq != seq {
			all = append(all, commit{first: i})
			seq = e.Pos.Seq
		}
		last := &all[len(all)-1]
		last.count++
		if last.mark == "" {
			last.mark = e.Mark
		}
	}
	return all
}

func (c *checker) checkCommands() {
	byMark := make(map[string]*Command, len(c.h.Commands))
	for i := range c.h.Commands {
		byMark[c.h.Commands[i].Mark] = &c.h.Commands[i]
	}
	commits := c.commits()
	first := make(map[string]commit, len(commits))
	unnamed := 0 // transfers that were dispatched, maybe, without an answer
	for mark, cmd := range byMark {
		if strings.HasPrefix(mark, markUnnamed) && cmd.Outcome == Unknown {
			unnamed++
		}
	}
	for _, k := range commits {
		pos := c.h.Log[k.first].Pos
		cmd := byMark[k.mark]
		before, twice := first[k.mark]
		id, back := strings.CutPrefix(k.mark, markBack)
		switch {
		case twice:
			c.found(Repeated, k.mark, pos, "took effect at %s already", c.h.Log[before.first].Pos)
		case back && byMark[markCancelled+id] != nil:
		case cmd == nil && unnamed > 0 && strings.HasPrefix(k.mark, markOut):
			unnamed--
		case cmd == nil:
			c.found(Unasked, k.mark, pos, "nobody of this run gave that command")
		case cmd.Outcome == Rejected:
			c.found(Undenied, k.mark, pos, "was rejected")
		}
		if !twice {
			first[k.mark] = k
		}
	}
	for i := range c.h.Commands {
		cmd := &c.h.Commands[i]
		c.verdict.Commands++
		switch cmd.Outcome {
		case Answered:
			c.verdict.Answered++
			k, ok := first[cmd.Mark]
			c.checkAnswer(cmd, k, ok)
		case Unknown:
			c.verdict.Unknown++
		}
		if cmd.Repeated > 0 {
			c.found(Answers, cmd.Mark, domain.Position{}, "%d repetitions were answered otherwise", cmd.Repeated)
		}
	}
	c.checkOvertaking()
}

// checkAnswer compares an answer with the log.
func (c *checker) checkAnswer(cmd *Command, k commit, committed bool) {
	if !committed && len(cmd.Events) > 0 && !c.h.Forgetful {
		c.found(Forgotten, cmd.Mark, cmd.Events[0].pos(), "was answered and is not in the log")
	}
	if !committed {
		return
	}
	at := c.h.Log[k.first].Pos
	if len(cmd.Events) != k.count {
		c.found(Answers, cmd.Mark, at, "the answer has %d events, the log %d", len(cmd.Events), k.count)
		return
	}
	for _, r := range cmd.Events {
		if i, there, same := c.logged(r); !there || i < k.first || i >= k.first+k.count {
			c.found(Answers, cmd.Mark, at, "the answer has an event at %s, which is none of its commit", r.pos())
		} else if !same {
			c.found(Answers, cmd.Mark, at, "the event in the answer is another than in the log")
		}
	}
}

// checkOvertaking checks that who asks after an answer is decided after it.
func (c *checker) checkOvertaking() {
	var asked []*Command // by the time they were sent
	for i := range c.h.Commands {
		if cmd := &c.h.Commands[i]; cmd.Outcome == Answered && len(cmd.Events) > 0 {
			asked = append(asked, cmd)
		}
	}
	done := slices.Clone(asked)
	slices.SortFunc(asked, func(a, b *Command) int { return cmp.Compare(a.Sent, b.Sent) })
	slices.SortFunc(done, func(a, b *Command) int { return cmp.Compare(a.Done, b.Done) })
	var latest *Command // with the greatest position among those answered by now
	answered := 0
	for _, cmd := range asked {
		for ; answered < len(done) && done[answered].Done < cmd.Sent; answered++ {
			if latest == nil || done[answered].Events[0].Seq > latest.Events[0].Seq {
				latest = done[answered]
			}
		}
		if latest != nil && cmd.Events[0].Seq <= latest.Events[0].Seq {
			c.found(Overtaken, cmd.Mark, cmd.Events[0].pos(), "%s was answered before this was sent, and is at %s", latest.Mark, latest.Events[0].pos())
		}
	}
}
