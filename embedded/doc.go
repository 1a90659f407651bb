// Package embedded is the default for one machine: a private PostgreSQL cluster and an MQTT v5 broker.
package embedded
