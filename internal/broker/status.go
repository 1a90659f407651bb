package broker

import (
	"strconv"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
)

// submitStatus submits a status on behalf of a gateway. It fails only when the pipeline has
// stopped, which needs no answer.
func (b *Broker) submitStatus(gateway Gateway, status string, link ingest.Link) {
	_ = b.submit(ingest.Message{
		Topic:     "gateways/" + strconv.FormatInt(gateway.ID, 10) + "/status",
		Payload:   []byte(`{"status":"` + status + `"}`),
		GatewayID: gateway.ID,
		Gateway:   gateway.Key,
		Link:      link,
		Received:  time.Now(),
	})
}

// Announce submits the status online for every connected gateway. Call it after other instances
// have taken this one for ended and its gateways for offline.
func (b *Broker) Announce() {
	b.mu.Lock()
	gateways := make(map[int64]Gateway, len(b.sessions))
	for _, s := range b.sessions {
		gateways[s.gateway.ID] = s.gateway
	}
	b.mu.Unlock()
	for _, gateway := range gateways {
		b.submitStatus(gateway, "online", ingest.Linked)
	}
}
