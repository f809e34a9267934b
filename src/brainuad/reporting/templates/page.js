for (const table of document.querySelectorAll('table[data-sortable]')) {
  table.querySelectorAll('thead th').forEach((head, column) => {
    const button = document.createElement('button');
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.onclick = () => {
      const up = head.getAttribute('aria-sort') === 'descending' ? 1 : -1;
      table.querySelectorAll('thead th').forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up > 0 ? 'ascending' : 'descending');
      const text = row => row.cells[column].textContent.trim();
      const order = (a, b) => {
        const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
        if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
        return up * (isNaN(x) ? text(a).localeCompare(text(b)) : x - y);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    };
  });
}
const filter = document.getElementById('filter');
if (filter) {
  filter.parentElement.hidden = false;
  filter.oninput = () => {
    const word = filter.value.toLowerCase();
    for (const item of document.querySelectorAll('#subjects tbody tr, details.subject')) {
      const own = item.matches('tr') ? item : item.querySelector('summary');
      item.hidden = !own.textContent.toLowerCase().includes(word);
    }
  };
}
