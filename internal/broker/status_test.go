package broker

import (
	"slices"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/ingest"
)

// TestStatus_SaysItsLinkToAConnection checks the links by which several instances tell the end of
// an old connection from a gateway's own status message.
func TestStatus_SaysItsLinkToAConnection(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1", will("gateways/g1/status", `{"status":"offline","why":"will"}`))
	c.publish(0, 1, "gateways/g1/status", `{"status":"online","why":"it says so"}`)
	c.pings()
	c.close()
	b.waitForStatuses(g1Online, `gateways/g1 by g1 {"status":"online","why":"it says so"}`,
		`gateways/g1 by g1 {"status":"offline","why":"will"}`, g1Offline)
	want := []ingest.Link{ingest.LinkUp, ingest.Linked, ingest.LinkDown, ingest.LinkDown}
	if !slices.Equal(b.links, want) {
		t.Errorf("got %v, want %v", b.links, want)
	}
}

func TestAnnounce_SubmitsOnlineOncePerGateway(t *testing.T) {
	b := newTestBroker(t, nil)
	b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:a" })
	b.client("g1", func(c *packets.Connect) { c.ClientID = "g1:b" })
	b.waitForStatuses(g1Online, g1Online)
	b.Announce()
	b.waitForStatuses(g1Online, g1Online, g1Online)
	b.mu.Lock()
	last := b.links[2]
	b.mu.Unlock()
	if last != ingest.Linked {
		t.Errorf("got %v, want %v", last, ingest.Linked)
	}
}
