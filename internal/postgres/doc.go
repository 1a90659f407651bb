// Package postgres runs a private PostgreSQL cluster: it finds the server's programs, makes the
// data directory, starts and supervises the server, and ends what an earlier process left running.
// It never looks into the database.
package postgres
