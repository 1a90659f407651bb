package ingest

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Receipt says what became of a message.
type Receipt struct {
	Code       byte   // reason code of an MQTT v5 PUBACK
	Text       string // reason string; empty when there is nothing to say
	Accepted   int    // samples that are stored; 1 for a status
	Duplicates int
	Refused    int
	// the first mostRejected of the refused, when Message.Itemized asked for them
	Rejected []Rejected
}

// Rejected is a sample that was refused. Index is its place in the message; -1 stands for the
// message as a whole.
type Rejected struct {
	Index  int
	Reason string
}

// mostRejected is how many refused samples a receipt lists.
const mostRejected = 100

// JSON is the payload that answers a message with a response topic. now is the clock of the server.
func (r Receipt) JSON(now time.Time) []byte {
	type rejected struct {
		Index  *int   `json:"index"` // null: the message as a whole
		Reason string `json:"reason"`
	}
	answer := struct {
		Accepted      int        `json:"accepted"`
		Duplicates    int        `json:"duplicates"`
		Rejected      []rejected `json:"rejected"`
		RejectedTotal int        `json:"rejected_total"`
		ServerTime    time.Time  `json:"server_time"`
	}{r.Accepted, r.Duplicates, make([]rejected, len(r.Rejected)), r.Refused, now.UTC()}
	for i, x := range r.Rejected {
		answer.Rejected[i].Reason = x.Reason
		if x.Index >= 0 {
			answer.Rejected[i].Index = &r.Rejected[i].Index
		}
	}
	payload, _ := json.Marshal(answer) // there is nothing in it that cannot be written
	return payload
}

// Why a message with a response topic gets no receipt.
const (
	NoReceiptTopic       = "topic"       // it is not the gateway's own
	NoReceiptCorrelation = "correlation" // its correlation data is too long
	NoReceiptListener    = "no_listener" // nobody is there who subscribes to it
	NoReceiptRoom        = "full"        // those before it have not been taken yet
)

// NoReceiptCounter counts receipts that were requested and not sent, by reason. The embedded
// broker and the external one have the same counter.
func NoReceiptCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "oei_mqtt_no_receipt_total",
		Help: "Receipts that were requested and not sent, by reason.",
	}, []string{"reason"})
}

// mostEcho is the longest response topic and correlation data, in bytes: they are kept until the
// receipt is sent.
const mostEcho = 256

// NoReceipt is why a message of gateway cannot be answered on the topic; "" when it can: on
// gateways/{gateway}/receipts or below it.
func NoReceipt(gateway, topic string, correlation []byte) string {
	rest, own := strings.CutPrefix(topic, "gateways/"+gateway+"/receipts")
	switch {
	case gateway == "" || !own || rest != "" && rest[0] != '/' ||
		strings.ContainsAny(rest, "+#\x00") || len(topic) > mostEcho:
		return NoReceiptTopic
	case len(correlation) > mostEcho:
		return NoReceiptCorrelation
	}
	return ""
}
