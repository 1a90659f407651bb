package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

// Receipt is the outcome of a message.
type Receipt struct {
	Code          byte   // reason code of an MQTT v5 PUBACK
	Text          string // reason string; may be empty
	Accepted      int    // samples that are stored; 1 for a status
	Duplicates    int
	RejectedTotal int
	Rejected      []Rejected // the first maxItemized, if Message.Itemized is set
}

// Rejected is a rejected sample. Index is its place in the message, or -1 for the whole message.
type Rejected struct {
	Index  int
	Reason string
}

// maxItemized is how many rejected samples a receipt lists.
const maxItemized = 100

// JSON returns the payload of a receipt. now is the time of the server's clock.
func (r Receipt) JSON(now time.Time) []byte {
	type rejected struct {
		Index  *int   `json:"index"` // null: the whole message
		Reason string `json:"reason"`
	}
	answer := struct {
		Accepted      int        `json:"accepted"`
		Duplicates    int        `json:"duplicates"`
		Rejected      []rejected `json:"rejected"`
		RejectedTotal int        `json:"rejected_total"`
		ServerTime    string     `json:"server_time"`
	}{
		r.Accepted, r.Duplicates, make([]rejected, len(r.Rejected)), r.RejectedTotal,
		rfc3339.Format(now),
	}
	for i, x := range r.Rejected {
		answer.Rejected[i].Reason = x.Reason
		if x.Index >= 0 {
			answer.Rejected[i].Index = &r.Rejected[i].Index
		}
	}
	payload, _ := json.Marshal(answer) // cannot fail: it has no type that JSON lacks
	return payload
}

// Reasons why no receipt is sent to a response topic.
const (
	NoReceiptTopic       = "topic"       // the topic is not the gateway's own
	NoReceiptCorrelation = "correlation" // the correlation data is too long
	NoReceiptListener    = "no_listener" // the topic has no subscriber
	NoReceiptRoom        = "full"        // too many receipts wait to be sent
)

// NoReceiptCounter counts receipts that were requested and not sent, by reason. The embedded
// broker and the external one have the same counter.
func NoReceiptCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "oei_mqtt_no_receipt_total",
		Help: "Receipts that were requested and not sent, by reason.",
	}, []string{"reason"})
}

// maxEcho is the maximum length of a response topic and of correlation data, in bytes. They are
// kept in memory until the receipt is sent.
const maxEcho = 256

// NoReceipt returns why a message of gateway cannot be answered on topic. It returns "" for
// gateways/{gateway}/receipts and topics below it.
func NoReceipt(gateway, topic string, correlation []byte) string {
	rest, own := strings.CutPrefix(topic, "gateways/"+gateway+"/receipts")
	switch {
	case gateway == "" || !own || rest != "" && rest[0] != '/' ||
		strings.ContainsAny(rest, "+#\x00") || len(topic) > maxEcho:
		return NoReceiptTopic
	case len(correlation) > maxEcho:
		return NoReceiptCorrelation
	}
	return ""
}

// receipt sums up the outcomes. A message of which anything was stored is a success.
func (e *entry) receipt() Receipt {
	if e.reason != "" {
		r := Receipt{
			Code:          reasonCode(e.reason),
			Text:          e.reason + ": " + e.detail,
			RejectedTotal: 1,
		}
		if e.message.Itemized {
			r.Rejected = []Rejected{{Index: -1, Reason: e.reason}}
		}
		return r
	}
	var r Receipt
	if e.status != nil {
		r.Accepted = 1
	}
	var first *rejection
	for i := range e.samples {
		switch s := &e.samples[i]; s.outcome {
		case store.Stored:
			r.Accepted++
		case store.Duplicate:
			r.Duplicates++
		default:
			r.RejectedTotal++
			first = cmp.Or(first, s.rejection)
			if e.message.Itemized && r.RejectedTotal <= maxItemized {
				r.Rejected = append(r.Rejected, Rejected{i, s.rejection.reason})
			}
		}
	}
	switch {
	case first == nil:
	case len(e.samples) == 1:
		r.Code, r.Text = reasonCode(first.reason), first.reason+": "+first.detail
	case r.RejectedTotal == len(e.samples):
		r.Code = reasonCode(first.reason)
		r.Text = fmt.Sprintf("all %d rejected, the first: %s: %s", r.RejectedTotal, first.reason,
			first.detail)
	default:
		r.Text = fmt.Sprintf("%d of %d rejected, the first: %s: %s", r.RejectedTotal,
			len(e.samples), first.reason, first.detail)
	}
	return r
}
