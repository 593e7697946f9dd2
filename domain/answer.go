package domain

// Durabilities of an answer.
const (
	// DurabilityFsync: the commit was on disk before the answer.
	DurabilityFsync = "fsync"
	// DurabilityRelaxed: the commit is on disk within a second of it.
	DurabilityRelaxed = "relaxed"
)

// MetadataDurability is the key in a commit's metadata under which the log says
// how durable it was when it was answered. It is absent for DurabilityFsync.
const MetadataDurability = "durability"

// Durability says how durable the commit was when it was answered, however the
// log is opened since.
func (c *Commit) Durability() string {
	if said, ok := c.Metadata[MetadataDurability]; ok {
		return said
	}
	return DurabilityFsync
}

// AppendAnswer appends a command's answer:
//
//	{"commandId","pos","durability","events":[envelope…],"result"}
//
// It is a function of the commit alone, so an answer that is given again is
// equal to the byte. Internal events are left out; result is null for none.
func AppendAnswer(dst []byte, c *Commit) []byte {
	dst = append(dst, `{"commandId":`...)
	dst = appendJSONString(dst, c.CommandID)
	dst = append(dst, `,"pos":"`...)
	dst = c.Position.AppendTo(dst)
	dst = append(dst, `","durability":`...)
	dst = appendJSONString(dst, c.Durability())
	dst = append(dst, `,"events":[`...)
	separate := false
	for i := range c.Events {
		if Internal(c.Events[i].Type) {
			continue
		}
		if separate {
			dst = append(dst, ',')
		}
		separate = true
		dst = c.Events[i].AppendEnvelope(dst)
	}
	dst = append(dst, `],"result":`...)
	if len(c.Result) == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, c.Result...)
	}
	return append(dst, '}')
}
