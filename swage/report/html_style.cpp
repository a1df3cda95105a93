#include "swage/report/html_style.h"

namespace swage::pipeline::html {

std::string_view style() {
  return ":root{color-scheme:light "
         "dark;--ground:#fff;--text:#1b2330;--soft:#4a5666;--line:#d8dee6;--panel:#f3f5f8;--bar:#2f6db5;--good:#1f7a3d;"
         "--bad:#a8421c}"
         "@media(prefers-color-scheme:dark){:root{--ground:#12161c;--text:#e6eaf0;--soft:#aab5c3;--line:#343d49;--"
         "panel:#1c232c;--bar:#6aa5e8;--good:#63c587;--bad:#f0906a}}"
         "*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 "
         "1rem;color:var(--text);background:var(--ground)}"
         "h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem "
         "0;color:var(--soft)}"
         ".cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}.card{border:1px solid "
         "var(--line);border-radius:.4rem;padding:.6rem .9rem;max-width:100%}"
         ".card b{display:block;font-size:1.25rem}.card span{color:var(--soft);font-size:.85rem}"
         ".scroll{overflow-x:auto;max-width:100%}.scroll:focus-visible{outline:2px solid var(--bar)}"
         "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.15rem .7rem;text-align:left;border-bottom:1px "
         "solid var(--line);white-space:nowrap}"
         "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.w{white-space:normal;overflow-wrap:anywhere}"
         "th "
         "button{font:inherit;font-weight:bold;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-"
         "decoration:underline dotted}"
         "svg{display:block}svg text{font:11px "
         "system-ui,sans-serif;fill:var(--soft)}.bar{fill:var(--bar)}.cell{stroke:var(--line);stroke-width:.5}"
         ".legend{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem;color:var(--soft);font-size:.85rem}"
         "pre{background:var(--panel);padding:.8rem;overflow:auto;max-width:100%}pre.wrap{white-space:pre-wrap;"
         "overflow-wrap:anywhere}"
         "details{margin:.5rem 0}summary{cursor:pointer}dl{display:grid;grid-template-columns:max-content "
         "minmax(0,1fr);gap:.15rem 1rem;font-size:.9rem;margin:.5rem 0}"
         "dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}";
}

std::string_view script() {
  return "for(const head of document.querySelectorAll('table.sort th button')){head.addEventListener('click',()=>{"
         "const "
         "cell=head.parentNode,table=cell.closest('table'),column=cell.cellIndex,down=cell.getAttribute('aria-sort')!=="
         "'descending';"
         "for(const other of "
         "cell.parentNode.cells)other.removeAttribute('aria-sort');cell.setAttribute('aria-sort',down?'descending':'"
         "ascending');"
         "const value=row=>row.cells[column].dataset.v??row.cells[column].textContent;"
         "const order=(a,b)=>isNaN(a)||isNaN(b)?a.localeCompare(b,'en',{numeric:true}):a-b;"
         "const rows=[...table.tBodies[0].rows].sort((a,b)=>order(value(a),value(b)));"
         "if(down)rows.reverse();table.tBodies[0].append(...rows)})}";
}

}  // namespace swage::pipeline::html
