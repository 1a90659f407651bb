import { init } from './redoc-3.0.1.js';

// Redoc is given the document, not its address: with an address it offers to hand it to chat services.
const answer = await fetch('asyncapi.json');
init(await answer.json(), { disableTelemetry: true }, document.querySelector('redoc'));
